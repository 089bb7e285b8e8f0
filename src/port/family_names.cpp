#include "port/family_names.h"

#include <algorithm>
#include <cctype>
#include <optional>

namespace lockstep::port {
namespace {

bool is_alnum(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }
bool is_upper(char c) { return std::isupper(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }
char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

// "qwen3moe" -> "qwen": what stands before the first digit.
std::string stem_of(const std::string& name) {
  std::string stem = name.substr(0, name.find_first_of("0123456789"));
  // "deepseekv3"
  if (stem.size() > 4 && stem.size() < name.size() && stem.back() == 'v') stem.pop_back();
  return stem;
}

// Names that are words as well: in lower case they are taken for the word.
bool is_english(const std::string& family) {
  constexpr std::string_view kWords[] = {"opt",    "phi",   "bloom", "falcon", "granite",
                                         "cohere", "mamba", "gpt",   "yi",     "jamba"};
  return std::ranges::find(kWords, stem_of(family)) != std::end(kWords) &&
         family == stem_of(family);
}

// Length of `family` at `text`, whose separators ('-', '_', ' ') count for nothing between its
// parts; 0: it does not stand there.
size_t match_at(std::string_view text, const std::string& family) {
  size_t at = 0;
  for (size_t i = 0; i < family.size(); ++i) {
    const bool may_part =
        i > 0 && at < text.size() && (text[at] == '-' || text[at] == '_' || text[at] == ' ');
    if (may_part && at + 1 < text.size() && lower(text[at + 1]) == family[i] &&
        lower(text[at]) != family[i]) {
      ++at;
    }
    if (at >= text.size() || lower(text[at]) != family[i]) return 0;
    ++at;
  }
  return at;
}

// A version behind a name: "3", "-3.1", " 2".
size_t version_at(std::string_view text) {
  size_t at = 0;
  if (at < text.size() && (text[at] == '-' || text[at] == ' ')) ++at;
  const size_t digits = at;
  while (at < text.size() && is_digit(text[at])) ++at;
  if (at == digits || at - digits > 2) return 0;
  return at < text.size() && (is_alnum(text[at]) || text[at] == '_') ? 0 : at;
}

// What stands before a name where it is a part of a longer word or of a path.
bool continues_name(char c) { return is_alnum(c) || c == '_' || c == '/' || c == '.' || c == '-'; }

// "LlamaAttention", "Qwen3MoeSparseMoeBlock", "LlamaRMSNorm": where the identifier ends whose
// family ends at `end`; 0: it is none.
size_t end_of_class(std::string_view text, size_t begin, size_t end) {
  if (!is_upper(text[begin]) || end + 1 >= text.size() || !is_upper(text[end])) return 0;
  if (!text.substr(end).starts_with("RMSNorm") && !text.substr(end).starts_with("MLP") &&
      (!is_alnum(text[end + 1]) || is_upper(text[end + 1]))) {
    return 0;
  }
  while (end < text.size() && (is_alnum(text[end]) || text[end] == '_')) ++end;
  return end;
}

std::optional<FamilyMention> mention_of(std::string_view text, size_t begin, size_t end,
                                        const std::string& family) {
  FamilyMention mention{begin, end, family, false};
  if (const size_t class_end = end_of_class(text, begin, end); class_end != 0) {
    mention.end = class_end;
    mention.is_class = true;
    return mention;
  }
  if (!is_digit(family.back())) {
    mention.end = end + version_at(text.substr(end));
    mention.family = normalised_name(text.substr(begin, mention.end - begin));
  }
  const std::string_view rest = text.substr(mention.end);
  const bool goes_on = !rest.empty() && (is_alnum(rest[0]) || rest[0] == '_' || rest[0] == '/' ||
                                         (rest[0] == '.' && rest.size() > 1 && is_alnum(rest[1])));
  if (goes_on || (is_english(mention.family) && !is_upper(text[begin]))) return {};
  if (mention.family == "opt" && text.substr(begin, 3) != "OPT") return {};
  return mention;
}

}  // namespace

std::string normalised_name(std::string_view name) {
  std::string result;
  for (const char c : name) {
    if (is_alnum(c)) result += lower(c);
  }
  return result;
}

std::string family_of_class(std::string_view class_name) {
  for (const std::string_view ending :
       {"ForConditionalGeneration", "ForCausalLM", "LMHeadModel", "ForCausalGeneration"}) {
    if (class_name.ends_with(ending))
      return std::string(class_name.substr(0, class_name.size() - ending.size()));
  }
  return std::string(class_name);
}

FamilyNames::FamilyNames(const Registry& registry, const std::vector<std::string>& more) {
  const auto add = [&](std::string_view name) {
    const std::string whole = normalised_name(name);
    for (const std::string& family : {whole, stem_of(whole)}) {
      if (family.size() >= 3) families_.push_back(family);
    }
  };
  for (const Registry::Entry& entry : registry.entries()) {
    std::string slug = entry.architecture->slug;
    if (slug.ends_with("_text")) slug.resize(slug.size() - 5);
    add(slug);
    add(family_of_class(entry.architecture->class_name));
    registered_.push_back(normalised_name(slug));
    registered_.push_back(normalised_name(family_of_class(entry.architecture->class_name)));
  }
  for (const std::string& name : more) add(name);
  for (const char* name : {"gptj", "gptneo", "chatglm", "baichuan", "internlm", "minicpm",
                           "nemotron", "jamba", "dbrx", "persimmon", "codegen", "mpt", "ernie"}) {
    add(name);
  }
  // Of "gpt_oss" only the whole is a family.
  std::erase(families_, "gpt");
  std::ranges::sort(families_, [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : a < b;
  });
  families_.erase(std::unique(families_.begin(), families_.end()), families_.end());
}

std::vector<FamilyMention> FamilyNames::find(std::string_view text) const {
  std::vector<FamilyMention> found;
  for (size_t at = 0; at < text.size(); ++at) {
    if (!is_alnum(text[at]) || (at > 0 && continues_name(text[at - 1]))) continue;
    for (const std::string& family : families_) {
      const size_t length = match_at(text.substr(at), family);
      if (length == 0) continue;
      const auto mention = mention_of(text, at, at + length, family);
      if (!mention) continue;
      found.push_back(*mention);
      at = mention->end - 1;
      break;
    }
  }
  return found;
}

bool FamilyNames::is_registered(const std::string& family) const {
  return std::ranges::find(registered_, family) != registered_.end();
}

bool is_same_family(const std::string& a, const std::string& b) {
  if (a == b) return true;
  const std::string& longer = a.size() > b.size() ? a : b;
  const std::string& shorter = a.size() > b.size() ? b : a;
  if (shorter.size() < 3) return false;
  if (shorter == stem_of(longer)) return true;
  // "olmo" and "olmoe"; a digit would be another version.
  return shorter.size() >= 4 && longer.starts_with(shorter) && !is_digit(longer[shorter.size()]);
}

}  // namespace lockstep::port
