#include "port/model_card.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/file.h"
#include "lockstep/error.h"
#include "port/config_keys.h"

namespace lockstep::port {
namespace {

constexpr size_t kMaxQuote = 160;
constexpr size_t kMaxQuotes = 8;  // of each kind

struct Mark {
  const char* about;
  std::vector<std::string_view> words;  // in lower case
};

const std::vector<Mark>& marks() {
  static const std::vector<Mark> all = {
      {"novelty",
       {"we introduce", "we propose", "we present a", "unlike", "first to", "the first model",
        "novel", "instead of the", "differs from", "in contrast to", "modification", "replaces the",
        "new architecture", "hybrid architecture"}},
      {"prompt template",
       {"<|im_start|>", "[inst]", "### instruction", "<|user|>", "<start_of_turn>",
        "<|start_header_id|>", "chat template", "prompt template", "prompt format",
        "apply_chat_template", "<|assistant|>", "human:"}},
      {"kernel",
       {"flash attention", "flash-attn", "flashattention", "flash_attn", "triton", "cuda kernel",
        "custom kernel", "mamba-ssm", "mamba_ssm", "causal-conv1d", "causal_conv1d", "deepgemm",
        "deep_gemm", "xformers", "flashmla", "trust_remote_code"}},
      {"quantisation",
       {"fp8", "fp4", "mxfp4", "nvfp4", "gptq", "awq", "gguf", "int4", "int8", "4-bit", "8-bit",
        "bitsandbytes", "quantized", "quantised", "quantization"}},
  };
  return all;
}

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// As a word of its own where the mark begins and ends with letters: "novel" is no part of
// "novelty".
bool mentions(const std::string& text, std::string_view mark) {
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
    const size_t end = at + mark.size();
    const bool opens = at == 0 || !is_word(text[at - 1]) || !is_word(mark.front());
    const bool closes = end == text.size() || !is_word(text[end]) || !is_word(mark.back());
    if (opens && closes) return true;
  }
  return false;
}

std::string trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r#>*|-");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r|") + 1 - begin));
}

// The sentences of a line, which a card rarely breaks.
std::vector<std::string> sentences(std::string_view line) {
  std::vector<std::string> found;
  size_t begin = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const bool is_end = line[i] == '.' || line[i] == '!' || line[i] == '?';
    if (!is_end || (i + 1 < line.size() && line[i + 1] != ' ')) continue;
    found.push_back(trimmed(line.substr(begin, i + 1 - begin)));
    begin = i + 1;
  }
  found.push_back(trimmed(line.substr(begin)));
  std::erase(found, "");
  return found;
}

std::string cut(std::string text) {
  if (text.size() <= kMaxQuote) return text;
  size_t end = kMaxQuote;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

void add_quotes(ModelCard& card, std::string_view line, size_t number) {
  for (const std::string& sentence : sentences(line)) {
    const std::string lower = lower_case(sentence);
    for (const Mark& mark : marks()) {
      const auto is_said = [&](std::string_view word) { return mentions(lower, word); };
      const auto n = std::ranges::count(card.quotes, mark.about, &CardQuote::about);
      if (static_cast<size_t>(n) < kMaxQuotes && std::ranges::any_of(mark.words, is_said)) {
        card.quotes.push_back({number, mark.about, cut(sentence)});
        break;
      }
    }
  }
}

// "2307.09288" after "arxiv.org/abs/", "arxiv.org/pdf/" or "arXiv:".
void add_papers(const std::string& text, std::vector<std::string>& papers) {
  const std::string lower = lower_case(text);
  for (size_t at = lower.find("arxiv"); at != std::string::npos; at = lower.find("arxiv", at + 5)) {
    size_t begin = at + 5;
    for (const std::string_view part : {".org", "/", "abs", "pdf", "html", "/", ":", " "}) {
      if (std::string_view(lower).substr(begin).starts_with(part)) begin += part.size();
    }
    size_t end = begin;
    while (end < lower.size() && ((lower[end] >= '0' && lower[end] <= '9') || lower[end] == '.')) {
      ++end;
    }
    while (end > begin && lower[end - 1] == '.') --end;
    const std::string id = lower.substr(begin, end - begin);
    const size_t dot = id.find('.');
    if (dot != 4 || id.size() < 9 || id.size() > 10) continue;
    const std::string paper = "arXiv:" + id;
    if (std::ranges::find(papers, paper) == papers.end()) papers.push_back(paper);
  }
}

std::string chat_template_file(const ModelFacts& facts) {
  for (const char* name : {"chat_template.jinja", "chat_template.json"}) {
    if (std::ranges::find(facts.files, name) != facts.files.end()) return name;
  }
  try {
    const std::string path = (facts.folder / "tokenizer_config.json").string();
    const ConfigKeys keys(read_text_file(path), path);
    const ConfigKey* key = keys.at("chat_template");
    return key != nullptr && key->is_set() ? "tokenizer_config.json" : "";
  } catch (const Error&) {
    return "";  // None, or one that check-walls speaks of.
  }
}

std::string front_value(const std::string& front, std::string_view key) {
  for (size_t begin = 0; begin < front.size();) {
    const size_t end = std::min(front.find('\n', begin), front.size());
    const std::string_view line(front.data() + begin, end - begin);
    begin = end + 1;
    if (!line.starts_with(key)) continue;
    std::string value = trimmed(line.substr(key.size()));
    if (value.empty()) {
      value = trimmed(std::string_view(front).substr(begin, front.find('\n', begin) - begin));
    }
    std::erase_if(value, [](char c) { return c == '"' || c == '\'' || c == '[' || c == ']'; });
    return cut(value);
  }
  return "";
}

}  // namespace

ModelCard read_card(const ModelFacts& facts) {
  ModelCard card;
  card.family = facts.model_type;
  card.chat_template = chat_template_file(facts);
  card.exists = !facts.card.empty() || !facts.front_matter.empty();
  if (!card.exists) return card;
  const std::string base = front_value(facts.front_matter, "base_model:");
  if (!base.empty()) card.family += (card.family.empty() ? "" : ", ") + ("made from " + base);
  add_papers(facts.front_matter, card.papers);
  add_papers(facts.card, card.papers);
  size_t number = 1;
  if (!facts.front_matter.empty()) {
    number += 2 + static_cast<size_t>(std::ranges::count(facts.front_matter, '\n'));
  }
  for (size_t begin = 0; begin < facts.card.size(); ++number) {
    const size_t end = std::min(facts.card.find('\n', begin), facts.card.size());
    add_quotes(card, std::string_view(facts.card).substr(begin, end - begin), number);
    begin = end + 1;
  }
  return card;
}

}  // namespace lockstep::port
