#include "port/audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "port/claims.h"
#include "port/delta_notes.h"
#include "port/family_names.h"
#include "port/sdk.h"
#include "port/source_text.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

using Verdict = Claim::Verdict;
using Words = std::set<std::string, std::less<>>;

bool matches(const std::string& text, const char* pattern) {
  static std::map<std::string_view, std::regex> compiled;
  const auto [at, is_new] = compiled.try_emplace(pattern);
  if (is_new) {
    at->second =
        std::regex(pattern, std::regex::ECMAScript | std::regex::icase | std::regex::optimize);
  }
  return std::regex_search(text, at->second);
}

bool is_word_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

void collect_words(std::string_view text, Words& words) {
  for (size_t begin = 0; begin < text.size();) {
    if (!is_word_char(text[begin])) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < text.size() && is_word_char(text[end])) ++end;
    words.emplace(text.substr(begin, end - begin));
    begin = end;
  }
}

void collect_keys(const nlohmann::json& value, Words& words) {
  if (value.is_array()) {
    for (const auto& child : value) collect_keys(child, words);
  }
  if (value.is_string()) words.insert(value.get<std::string>());
  if (!value.is_object()) return;
  for (const auto& [key, child] : value.items()) {
    words.insert(key);
    collect_keys(child, words);
  }
}

// A sentence of a paragraph, and where it begins there.
struct Sentence {
  std::string text;
  size_t offset;
};

std::vector<Sentence> sentences_of(const std::string& paragraph) {
  constexpr size_t kMost = 1500;  // longer ones would cost the matcher its stack
  std::vector<Sentence> sentences;
  size_t begin = 0;
  for (size_t i = 0; i <= paragraph.size(); ++i) {
    const bool ends = i == paragraph.size() || i - begin >= kMost ||
                      ((paragraph[i] == '.' || paragraph[i] == ';' || paragraph[i] == '!' ||
                        paragraph[i] == '?') &&
                       (i + 1 == paragraph.size() || paragraph[i + 1] == ' '));
    if (!ends || i == begin) continue;
    sentences.push_back({paragraph.substr(begin, i - begin), begin});
    begin = std::min(i + 1, paragraph.size());
  }
  return sentences;
}

class Auditor {
 public:
  explicit Auditor(const AuditSubject& subject)
      : subject_(subject),
        facts_(claim_facts(subject.trace, subject.config)),
        names_(registry_, own_and_donor_names()) {
    report_.content_hash = subject.port.content_hash();
    learn_code();
    learn_words();
    for (const std::string& word : own_names()) own_.push_back(normalised_name(word));
  }

  AuditReport run() {
    for (const fs::path& source : subject_.port.sources) {
      file_ = relative(source);
      is_record_ = false;
      ++report_.n_files;
      for (const Prose& comment : read_source(read_text_file(source)).comments) read(comment);
    }
    const fs::path record = subject_.port.folder / "PORT.md";
    if (fs::is_regular_file(record)) {
      file_ = "PORT.md";
      is_record_ = true;
      ++report_.n_files;
      for (const Prose& paragraph : read_markdown(read_text_file(record))) read(paragraph);
    }
    return std::move(report_);
  }

 private:
  std::string relative(const fs::path& file) const {
    return file.lexically_relative(subject_.port.folder).string();
  }

  // How the model calls itself.
  std::vector<std::string> own_names() const {
    const ConfigFile& config = subject_.config;
    std::vector<std::string> names = {subject_.port.slug,
                                      family_of_class(subject_.trace.graph.architecture)};
    for (const char* key : {"model_type", "text_config.model_type"}) {
      if (config.kind(key) == ConfigFile::Kind::kString) names.push_back(config.get_string(key));
    }
    return names;
  }
  std::vector<std::string> own_and_donor_names() const {
    std::vector<std::string> names = own_names();
    if (subject_.donor != nullptr) names.push_back(subject_.donor->slug);
    return names;
  }

  // The port's code, and what it takes from registered architectures.
  void learn_code() {
    std::vector<std::string> included;
    for (const fs::path& source : subject_.port.sources) {
      const SourceText text = read_source(read_text_file(source));
      collect_words(text.code, code_);
      note_includes(text.code, included);
      for (const DeltaNote& note : find_delta_notes(text.code, "")) {
        has_todo_ = has_todo_ || note.kind == DeltaNote::Kind::kTodo;
      }
      has_todo_ = has_todo_ || read_text_file(source).find("TODO(delta") != std::string::npos;
    }
    for (size_t i = 0; i < included.size(); ++i) {
      lineage_[normalised_name(included[i])] = fmt::format("lockstep/archs/{}.h", included[i]);
      const fs::path header = sdk() / "lockstep" / "archs" / (included[i] + ".h");
      if (sdk().empty() || !fs::is_regular_file(header)) continue;
      const SourceText text = read_source(read_text_file(header));
      collect_words(text.code, inherited_);
      note_includes(text.code, included);
    }
    if (subject_.donor != nullptr) {
      lineage_.emplace(normalised_name(subject_.donor->slug), "deltas.json");
      lineage_.emplace(normalised_name(family_of_class(subject_.donor->class_name)), "deltas.json");
    }
  }

  static void note_includes(const std::string& code, std::vector<std::string>& included) {
    static const std::regex pattern(
        R"(#\s*include\s*["<](?:lockstep/archs/|\.\./)(?:\w+/)?(\w+)\.h[">])");
    for (std::sregex_iterator at(code.begin(), code.end(), pattern), none; at != none; ++at) {
      const std::string slug = (*at)[1];
      if (std::ranges::find(included, slug) == included.end()) included.push_back(slug);
    }
  }

  const fs::path& sdk() {
    if (!sdk_looked_for_) {
      sdk_looked_for_ = true;
      try {
        sdk_ = find_sdk();
      } catch (const Error&) {
        sdk_.clear();
      }
    }
    return sdk_;
  }

  // Everything a comment may speak of besides the code.
  void learn_words() {
    const GraphFacts& graph = facts_.graph;
    structure_.insert(graph.names.begin(), graph.names.end());
    known_ = structure_;
    known_.insert(graph.classes.begin(), graph.classes.end());
    for (const auto& [op, n] : graph.ops) known_.insert(op);
    for (const Parameter& parameter : subject_.trace.graph.parameters) {
      collect_words(parameter.path, known_);
      collect_words(parameter.stored, known_);
      for (const StoredPart& part : parameter.parts) collect_words(part.stored, structure_);
      collect_words(parameter.stored, structure_);
    }
    for (const Audit::Dropped& drop : subject_.trace.audit.dropped) {
      collect_words(drop.stored, structure_);
    }
    for (const std::string& name : subject_.trace.audit.surplus) collect_words(name, structure_);
    collect_keys(nlohmann::json::parse(subject_.config.text(), nullptr, false), known_);
    for (const fs::directory_entry& entry :
         fs::recursive_directory_iterator(subject_.port.folder)) {
      known_.insert(entry.path().filename().string());
      known_.insert(entry.path().stem().string());
    }
    if (!sdk().empty()) {
      for (const char* folder : {"lockstep", "lockstep/nn"}) {
        std::error_code ignored;
        for (const auto& entry : fs::directory_iterator(sdk() / folder, ignored)) {
          if (entry.is_regular_file()) {
            collect_words(read_source(read_text_file(entry.path())).code, known_);
          }
        }
      }
    }
  }

  void read(const Prose& prose) {
    // What is said of a delta that is still to do speaks of the reference.
    if (prose.text.starts_with("TODO")) return;
    for (const Sentence& sentence : sentences_of(prose.text)) {
      sentence_ = sentence.text;
      place_ = &prose;
      offset_ = sentence.offset;
      taken_.clear();
      is_history_ = is_record_ && is_told_of_the_past(prose.heading);
      read_names();
      read_claims();
      read_numbers_of_deltas();
      read_identifiers();
      read_promises();
    }
  }

  bool is_told_of_the_past(const std::string& heading) const {
    return matches(heading, R"(root cause|lessons|history)") ||
           matches(sentence_, R"(\b(was|were|had|did|used to|before|at first|fixed|forgot|missed|)"
                              R"(missing|wrong|wrongly|until|diverged|first attempt|bug)\b)");
  }

  void put(Verdict verdict, size_t begin, size_t end, std::string evidence) {
    taken_.emplace_back(begin, end);
    if (is_history_ && verdict != Verdict::kOk) {
      verdict = Verdict::kOk;
      evidence = "told of the past";
    }
    report_.claims.push_back({verdict, file_, place_->line_at(offset_ + begin),
                              sentence_.substr(begin, end - begin), std::move(evidence)});
  }
  bool is_taken(size_t begin, size_t end) const {
    return std::ranges::any_of(
        taken_, [&](const auto& span) { return begin < span.second && span.first < end; });
  }

  bool is_own(const std::string& family) const {
    if (names_.is_registered(family) && std::ranges::find(own_, family) == own_.end() &&
        std::ranges::none_of(own_,
                             [&](const std::string& own) { return own.starts_with(family); })) {
      return false;
    }
    return std::ranges::any_of(own_,
                               [&](const std::string& own) { return is_same_family(own, family); });
  }

  // Where it is said that the port comes from `family`; empty: nowhere.
  std::string lineage_of(const std::string& family) const {
    for (const auto& [name, where] : lineage_) {
      if (name == family) return where;
    }
    for (const auto& [name, where] : lineage_) {
      const bool is_other =
          names_.is_registered(family) && names_.is_registered(name) && !name.starts_with(family);
      if (!is_other && is_same_family(name, family)) return where;
    }
    return "";
  }

  bool speaks_of_reference() const {
    return matches(
        sentence_,
        R"(\b(reference|transformers|hugging ?face|hf|torch|pytorch|python|mirrors)\b|\.py\b)");
  }

  void read_names() {
    for (const FamilyMention& mention : names_.find(sentence_)) {
      const std::string words = sentence_.substr(mention.begin, mention.end - mention.begin);
      if (mention.is_class) {
        judge_class(mention, words);
      } else if (is_rope_type(mention)) {
        continue;
      } else {
        judge_family(mention, words);
      }
    }
  }

  // "llama3" is a scaling of rotations as well; claims judge it.
  bool is_rope_type(const FamilyMention& mention) const {
    return mention.family == "llama3" &&
           (matches(sentence_, R"(\b(scaling|frequenc\w+|rope|rotary)\b)") ||
            std::ranges::find(facts_.rope_types, "llama3") != facts_.rope_types.end());
  }

  void judge_class(const FamilyMention& mention, const std::string& words) {
    const auto say = [&](Verdict verdict, const std::string& evidence) {
      put(verdict, mention.begin, mention.end, evidence);
    };
    const std::string lineage = lineage_of(mention.family);
    if (facts_.graph.classes.contains(words) || words == subject_.trace.graph.architecture) {
      say(Verdict::kOk, "a class of the traced graph");
    } else if (code_.contains(words)) {
      say(Verdict::kOk, "in the port's code");
    } else if (is_own(mention.family)) {
      say(Verdict::kOk, "a class of the model's own reference");
    } else if (is_denied_at(sentence_, mention.begin)) {
      say(Verdict::kOk, "said not to be");
    } else if (!lineage.empty()) {
      const bool is_origin = is_told_as_origin() || inherited_.contains(words);
      say(is_origin ? Verdict::kOk : Verdict::kStale,
          is_origin ? fmt::format("of what the port is derived from ({})", lineage)
                    : fmt::format("neither the code nor the traced graph has {}", words));
    } else {
      say(Verdict::kLie, fmt::format("the port is not derived from {}, and nothing in it is a {}",
                                     mention.family, words));
    }
  }

  bool is_told_as_origin() const {
    return matches(
        sentence_,
        R"(\b(derive[sd]?|deriving|based|differ\w*|unlike|than|donor|cop(y|ied)|instead|where|from|inherit\w*|began|begins|start\w*|as|like|same|delta)\b)");
  }

  void judge_family(const FamilyMention& mention, const std::string& words) {
    const auto say = [&](Verdict verdict, const std::string& evidence) {
      put(verdict, mention.begin, mention.end, evidence);
    };
    if (is_own(mention.family)) return;
    const std::string lineage = lineage_of(mention.family);
    if (!lineage.empty()) {
      const bool is_reused =
          matches(sentence_, R"(\b(inherits?|reuses?|subclass\w*|includes?)\b)") &&
          !is_denied_at(sentence_, mention.begin);
      if (is_reused && lineage == "deltas.json" && !code_.contains(words)) {
        say(Verdict::kStale, fmt::format("no source includes lockstep/archs/{}.h", mention.family));
      } else {
        say(Verdict::kOk, lineage == "deltas.json" ? "the donor of deltas.json"
                                                   : fmt::format("included: {}", lineage));
      }
      return;
    }
    if (is_denied_at(sentence_, mention.begin)) {
      say(Verdict::kOk, "said not to be");
    } else if (is_borne_out(mention)) {
      say(Verdict::kOk, "compared with, in what the graph bears out");
    } else {
      say(Verdict::kLie, fmt::format("no source includes it and deltas.json does not name it: the "
                                     "port is not derived from {}",
                                     words));
    }
  }

  // "as Llama and NeoX do": true where the sentence makes a claim and the graph has it.
  bool is_borne_out(const FamilyMention& mention) const {
    const std::string before = sentence_.substr(0, mention.begin);
    const std::string after = sentence_.substr(mention.end);
    const bool compares =
        matches(before, R"(\b(as|like|unlike|than|of|in)( the| in| of)?( \S+ and| \S+,)? ?$)") ||
        matches(after, R"(^(-|'s |’s )?(style|like|do\b|does\b))");
    if (!compares) return false;
    const std::vector<FoundClaim> claims = find_claims(sentence_, facts_);
    return !claims.empty() && std::ranges::all_of(claims, &FoundClaim::holds);
  }

  // Words before a claim that make it one about the donor, or about some other model.
  bool is_of_another(size_t at) const {
    std::string before = sentence_.substr(0, at);
    const size_t clause = before.find_last_of(",;:()");
    if (clause != std::string::npos) before = before.substr(clause + 1);
    if (matches(before, R"(\b(as|like|same as)( in)?( the)? \S+$)")) return false;
    if (matches(
            before,
            R"(\bdonor('s)?( (has|have|uses|does|applies|rotates|keeps|puts|adds|reads|norms))?( \S+){0,4} ?$)")) {
      return true;
    }
    for (const FamilyMention& mention : names_.find(before)) {
      if (is_own(mention.family)) continue;
      const std::string head = before.substr(0, mention.begin);
      const std::string rest = before.substr(mention.end);
      if (matches(head, R"(\b(as|like|from|of)( the)? ?$)")) continue;
      if (matches(
              rest,
              R"(^('s|’s| (has|have|uses|does|applies|rotates|keeps|puts|adds|reads|norms|stores)\b))")) {
        return true;
      }
    }
    return false;
  }

  void read_claims() {
    for (const FoundClaim& claim : find_claims(sentence_, facts_)) {
      if (is_taken(claim.begin, claim.end)) continue;
      if (is_of_another(claim.begin)) {
        put(Verdict::kOk, claim.begin, claim.end, "said of another model");
      } else {
        put(claim.holds ? Verdict::kOk : Verdict::kLie, claim.begin, claim.end,
            claim.is_denied && !claim.holds ? fmt::format("denied, but {}", claim.evidence)
                                            : claim.evidence);
      }
    }
  }

  void read_numbers_of_deltas() {
    if (subject_.donor == nullptr) return;
    static const std::regex pattern(R"(\bdeltas? (\d{1,6})\b)", std::regex::icase);
    for (std::sregex_iterator at(sentence_.begin(), sentence_.end(), pattern), none; at != none;
         ++at) {
      const auto begin = static_cast<size_t>(at->position());
      const size_t end = begin + static_cast<size_t>(at->length());
      const int number = std::stoi((*at)[1]);
      const auto& deltas = subject_.donor->deltas;
      const bool is_there = std::ranges::find(deltas, number, &Delta::number) != deltas.end();
      put(is_there ? Verdict::kOk : Verdict::kStale, begin, end,
          is_there ? "in deltas.json" : fmt::format("deltas.json has no delta {}", number));
    }
  }

  // Names that look like code: `quoted`, or with an underscore, or a module path.
  void read_identifiers() {
    static const std::regex pattern(
        R"(`([A-Za-z_][A-Za-z0-9_.:]*)(?:\(\))?`|\b(model\.[a-z_0-9.*N]+|[a-z][a-z0-9]*(?:_[a-z0-9]+)+)\b)");
    for (std::sregex_iterator at(sentence_.begin(), sentence_.end(), pattern), none; at != none;
         ++at) {
      const auto begin = static_cast<size_t>(at->position());
      const size_t end = begin + static_cast<size_t>(at->length());
      const bool in_path =
          begin > 0 && (sentence_[begin - 1] == '/' || sentence_[begin - 1] == '.' ||
                        sentence_[begin - 1] == '-');
      const bool is_file =
          end < sentence_.size() && (sentence_[end] == '/' || sentence_[end] == '(' ||
                                     (sentence_[end] == '.' && end + 1 < sentence_.size() &&
                                      is_word_char(sentence_[end + 1])));
      if (is_taken(begin, end) || in_path || is_file) continue;
      judge_identifier(begin, end, (*at)[1].matched ? (*at)[1].str() : (*at)[2].str());
    }
  }

  void judge_identifier(size_t begin, size_t end, const std::string& name) {
    Words parts;
    collect_words(name, parts);
    std::string unknown;
    for (const std::string& part : parts) {
      if (part == "N" || std::ranges::all_of(part, [](char c) {
            return std::isdigit(static_cast<unsigned char>(c));
          }))
        continue;
      const bool is_module = matches(
          part,
          R"((^|_)(norm|layernorm|proj|mlp|attn|experts?|gate|router|embedding|embeddings)$)");
      const bool is_there = structure_.contains(part) || code_.contains(part) ||
                            (!is_module && (known_.contains(part) || inherited_.contains(part)));
      const bool is_key = known_.contains(part) &&
                          subject_.config.text().find("\"" + part + "\"") != std::string::npos;
      if (!is_there && !is_key) unknown = part;
    }
    if (unknown.empty()) {
      // One that is there makes no claim worth a line.
      return;
    }
    if (speaks_of_reference() || is_denied_at(sentence_, begin) || is_of_another(begin)) return;
    // A plain word in quotes is no name.
    if (name.find_first_of("_.:") == std::string::npos &&
        !std::isupper(static_cast<unsigned char>(name[0])))
      return;
    put(Verdict::kStale, begin, end,
        fmt::format("neither the code, the traced graph, config.json nor the checkpoint has {}",
                    unknown));
  }

  // "not implemented yet", where nothing is left to do.
  void read_promises() {
    static const std::regex pattern(
        R"(\bnot (?:yet )?implemented(?: yet)?\b|\byet to be (?:implemented|done|written)\b|\bstill to (?:do|be done)\b|\bnot done yet\b|\bunimplemented\b)",
        std::regex::icase);
    for (std::sregex_iterator at(sentence_.begin(), sentence_.end(), pattern), none; at != none;
         ++at) {
      const auto begin = static_cast<size_t>(at->position());
      const size_t end = begin + static_cast<size_t>(at->length());
      if (is_taken(begin, end)) continue;
      put(has_todo_ ? Verdict::kOk : Verdict::kStale, begin, end,
          has_todo_ ? "a TODO of the sources says what" : "no TODO is left in the sources");
    }
  }

  const AuditSubject& subject_;
  const Registry registry_;
  ClaimFacts facts_;
  FamilyNames names_;
  AuditReport report_;
  std::vector<std::string> own_;                // normalised
  std::map<std::string, std::string> lineage_;  // normalised family -> where that is said
  Words code_, inherited_, structure_, known_;
  fs::path sdk_;
  bool sdk_looked_for_ = false, has_todo_ = false;
  // Of the sentence at hand.
  std::string file_, sentence_;
  const Prose* place_ = nullptr;
  size_t offset_ = 0;
  bool is_record_ = false, is_history_ = false;
  std::vector<std::pair<size_t, size_t>> taken_;
};

}  // namespace

std::string_view verdict_name(Claim::Verdict verdict) {
  constexpr std::string_view kNames[] = {"OK", "Lie", "Stale"};
  return kNames[static_cast<size_t>(verdict)];
}

size_t AuditReport::count(Claim::Verdict verdict) const {
  return static_cast<size_t>(std::ranges::count(claims, verdict, &Claim::verdict));
}

std::string AuditReport::summary() const {
  const size_t lies = count(Claim::Verdict::kLie), stale = count(Claim::Verdict::kStale);
  return fmt::format(
      "{} in {}, {}; content {}", counted(claims.size(), "claim"), counted(n_files, "file"),
      lies + stale == 0
          ? std::string("all OK")
          : fmt::format("{} OK, {} Lie, {} Stale", count(Claim::Verdict::kOk), lies, stale),
      content_hash.substr(0, 12));
}

AuditReport audit(const AuditSubject& subject) { return Auditor(subject).run(); }

}  // namespace lockstep::port
