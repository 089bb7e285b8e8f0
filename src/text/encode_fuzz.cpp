// Any bytes as text for fixed tokenizers: refused where it is not UTF-8, else encoded, decoded
// whole and streamed to the same, and for GPT-2's bytes to what it was.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/error.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

using namespace lockstep::text;

constexpr std::string_view kBytes = R"({"model": {"type": "BPE", "vocab": {VOCAB}, "merges": []},
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
  "decoder": {"type": "ByteLevel"}, "added_tokens": [{"id": 300, "content": "<s>",
  "single_word": false, "lstrip": true, "rstrip": true, "normalized": false, "special": true}]})";

constexpr std::string_view kPieces = R"({"model": {"type": "Unigram", "unk_id": 0,
  "vocab": [["<unk>", 0], ["▁", -2], ["a", -3], ["ab", -4], ["▁the", -5], ["é", -6]]},
  "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"},
    {"type": "Strip", "strip_left": true, "strip_right": true},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "UnicodeScripts"},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"},
    {"type": "Split", "pattern": {"Regex": "\\w+|[^\\w\\s]+"}, "behavior": "MergedWithNext",
     "invert": false}]},
  "decoder": {"type": "Metaspace", "replacement": "▁"}})";

std::string byte_vocabulary() {
  // Every byte as GPT-2 writes it, in the order of the characters.
  std::string text;
  int id = 0;
  for (char32_t c = 0x21; c < 0x144; ++c) {
    if ((c >= 0x7f && c <= 0xa0) || c == 0xad) continue;
    std::string character;
    append_code_point(character, c);
    if (c == '"' || c == '\\') character.insert(0, "\\");
    text += (id == 0 ? "\"" : ", \"") + character + "\": " + std::to_string(id);
    ++id;
  }
  return text;
}

void check(const Tokenizer& tokenizer, std::string_view text, bool reversible) {
  const std::vector<int32_t> ids = tokenizer.encode(text);
  const std::string decoded = tokenizer.decode(ids);
  if (reversible && decoded != text) std::abort();
  if (find_invalid_utf8(decoded) != decoded.npos) std::abort();
  Detokenizer detokenizer(tokenizer);
  std::string streamed;
  for (const int32_t id : ids) {
    const std::string part = detokenizer.push(id);
    if (find_invalid_utf8(part) != part.npos) std::abort();
    streamed += part;
  }
  if (streamed + detokenizer.finish() != decoded) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Tokenizer bytes = [] {
    std::string json(kBytes);
    json.replace(json.find("VOCAB"), 5, byte_vocabulary());
    return Tokenizer::parse(json, "bytes");
  }();
  static const Tokenizer pieces = Tokenizer::parse(kPieces, "pieces");
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    check(pieces, text, false);
    check(bytes, text, text.find("<s>") == text.npos);
  } catch (const lockstep::Error&) {
    if (find_invalid_utf8(text) == text.npos) std::abort();
  }
  return 0;
}
