#include "port/audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "port/claims.h"
#include "port/delta_notes.h"
#include "port/port_vocabulary.h"
#include "port/source_text.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

using Verdict = Claim::Verdict;

bool matches(const std::string& text, const char* pattern) {
  static std::map<std::string_view, std::regex> compiled;
  const auto [at, is_new] = compiled.try_emplace(pattern);
  if (is_new) {
    at->second =
        std::regex(pattern, std::regex::ECMAScript | std::regex::icase | std::regex::optimize);
  }
  return std::regex_search(text, at->second);
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
        words_(subject, facts_.graph) {
    report_.content_hash = subject.port.content_hash();
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

  void read(const Prose& prose) {
    // What is said of a delta that is still to do speaks of the reference.
    if (prose.text.starts_with("TODO")) return;
    for (const Sentence& sentence : sentences_of(prose.text)) {
      sentence_ = sentence.text;
      place_ = &prose;
      offset_ = sentence.offset;
      taken_.clear();
      is_history_ = is_record_ && is_told_of_the_past(prose.heading);
      read_mirrors();
      read_headers();
      read_implemented();
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

  bool speaks_of_reference() const {
    return matches(
        sentence_,
        R"(\b(reference|transformers|hugging ?face|hf|torch|pytorch|python|mirrors)\b|\.py\b)");
  }

  // "Mirrors transformers models/llama/modeling_llama.py", in a port of something else.
  void read_mirrors() {
    static const std::regex pattern(R"(\bmirrors?\b.*\bmodeling_(\w+)\.py)", std::regex::icase);
    std::smatch match;
    if (!std::regex_search(sentence_, match, pattern)) return;
    const std::string family = normalised_name(match[1].str());
    const auto begin = static_cast<size_t>(match.position(1)) - 9;
    const size_t end = begin + 9 + static_cast<size_t>(match.length(1)) + 3;
    const bool is_so = words_.is_own(family);
    put(is_so ? Verdict::kOk : Verdict::kLie, begin, end,
        is_so ? "the model's own reference" : "the reference of another model");
  }

  // "lockstep/archs/llama.h"
  void read_headers() {
    static const std::regex pattern(R"(\blockstep/archs/(\w+)\.h\b)");
    for (std::sregex_iterator at(sentence_.begin(), sentence_.end(), pattern), none; at != none;
         ++at) {
      const auto begin = static_cast<size_t>(at->position());
      const std::string lineage = words_.lineage_of(normalised_name((*at)[1].str()));
      put(lineage.empty() ? Verdict::kStale : Verdict::kOk, begin,
          begin + static_cast<size_t>(at->length()),
          lineage.empty() ? "no source includes it" : fmt::format("by {}", lineage));
    }
  }

  // "Deltas implemented: 1, 3" and "none yet", of the file at hand.
  void read_implemented() {
    static const std::regex pattern(R"(\bdeltas implemented:\s*(none(?: yet)?|\d[\d, and]*))",
                                    std::regex::icase);
    std::smatch match;
    if (!std::regex_search(sentence_, match, pattern)) return;
    const auto begin = static_cast<size_t>(match.position());
    const size_t end = begin + static_cast<size_t>(match.length());
    const std::string said = match[1];
    std::string open;
    static const std::regex number(R"(\d{1,6})");
    for (std::sregex_iterator at(said.begin(), said.end(), number), none; at != none; ++at) {
      if (!words_.done.contains(std::stoi(at->str())))
        open += (open.empty() ? "" : ", ") + at->str();
    }
    const auto here = words_.done_in.find(file_);
    if (!open.empty()) {
      put(Verdict::kLie, begin, end, fmt::format("no source says that delta {} is done", open));
    } else if (std::tolower(static_cast<unsigned char>(said[0])) == 'n' &&
               here != words_.done_in.end()) {
      put(Verdict::kStale, begin, end,
          fmt::format("{} says that delta {} is done", file_, here->second));
    } else {
      put(Verdict::kOk, begin, end, "as the sources say");
    }
  }

  void read_names() {
    for (const FamilyMention& mention : words_.names.find(sentence_)) {
      const std::string words = sentence_.substr(mention.begin, mention.end - mention.begin);
      if (mention.is_class) {
        judge_class(mention, words);
      } else if (is_rope_type(mention) || is_taken(mention.begin, mention.end)) {
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
    const std::string lineage = words_.lineage_of(mention.family);
    if (facts_.graph.classes.contains(words) || words == subject_.trace.graph.architecture) {
      say(Verdict::kOk, "a class of the traced graph");
    } else if (words_.code.contains(words)) {
      say(Verdict::kOk, "in the port's code");
    } else if (words_.is_own(mention.family)) {
      say(Verdict::kOk, "a class of the model's own reference");
    } else if (is_denied_at(sentence_, mention.begin)) {
      say(Verdict::kOk, "said not to be");
    } else if (!lineage.empty()) {
      const bool is_origin = is_told_as_origin() || words_.inherited.contains(words);
      say(is_origin ? Verdict::kOk : Verdict::kStale,
          is_origin ? fmt::format("of what the port is derived from ({})", lineage)
                    : fmt::format("neither the code nor the traced graph has {}", words));
    } else {
      say(Verdict::kLie, fmt::format("the port is not derived from {}, and nothing in it is a {}",
                                     mention.family, words));
    }
  }

  // "Llama's attention", "llama::Attention", "Llama has none": said of the donor's own.
  bool is_owner(const FamilyMention& mention) const {
    const std::string after = sentence_.substr(mention.end);
    const std::string before = sentence_.substr(0, mention.begin);
    return matches(
               after,
               R"(^('s\b|’s|::|s'| (with|without|plus|but|minus)\b|[- ](has|have|uses|does|did|applies|rotates|keeps|puts|adds|reads|norms|stores)\b))") ||
           is_denied_at(sentence_, mention.begin) || matches(before, R"([`/<"]$)");
  }

  bool is_told_as_origin() const {
    return matches(
        sentence_,
        R"(\b(derive[sd]?|deriving|based|differ\w*|unlike|than|donor|cop(y|ied)|instead|where|from|inherit\w*|began|begins|start\w*|as|like|same|delta|reuses?|subclass\w*|includes?)\b)");
  }

  void judge_family(const FamilyMention& mention, const std::string& words) {
    const auto say = [&](Verdict verdict, const std::string& evidence) {
      put(verdict, mention.begin, mention.end, evidence);
    };
    if (words_.is_own(mention.family)) return;
    const std::string lineage = words_.lineage_of(mention.family);
    if (!lineage.empty()) {
      const bool is_reused =
          matches(sentence_, R"(\b(inherits?|reuses?|subclass\w*|includes?)\b)") &&
          !is_denied_at(sentence_, mention.begin);
      if (!is_told_as_origin() && !is_owner(mention)) {
        say(Verdict::kLie, fmt::format("names the donor ({}) as if it were this model", lineage));
      } else if (is_reused && lineage == "deltas.json" && !words_.code.contains(words)) {
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
        matches(after, R"(^([- ]|'s |’s )?(style|like|do\b|does\b))");
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
    for (const FamilyMention& mention : words_.names.find(before)) {
      if (words_.is_own(mention.family)) continue;
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
      const bool is_there =
          words_.structure.contains(part) || words_.code.contains(part) ||
          (!is_module && (words_.known.contains(part) || words_.inherited.contains(part)));
      const bool is_key = words_.known.contains(part) &&
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
      put(words_.has_todo ? Verdict::kOk : Verdict::kStale, begin, end,
          words_.has_todo ? "a TODO of the sources says what" : "no TODO is left in the sources");
    }
  }

  const AuditSubject& subject_;
  ClaimFacts facts_;
  PortVocabulary words_;
  AuditReport report_;
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
