// SentencePiece's compiled rules: a double-array trie from strings to offsets into a block of
// strings that end in a zero byte. Layout: u32 bytes of the trie, the trie's u32 units, the block.
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "lockstep/error.h"
#include "text/normalizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

std::string decode_base64(const JsonPart& part) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<int, 256> values;
  values.fill(-1);
  for (size_t i = 0; i < kDigits.size(); ++i) {
    values[static_cast<unsigned char>(kDigits[i])] = static_cast<int>(i);
  }
  std::string_view text = part.as_string();
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  uint32_t bits = 0;
  int n_bits = 0;
  for (const char c : text) {
    const int value = values[static_cast<unsigned char>(c)];
    if (value < 0) part.fail("base64", "another character");
    bits = bits << 6 | static_cast<uint32_t>(value);
    n_bits += 6;
    if (n_bits >= 8) bytes.push_back(static_cast<char>(bits >> (n_bits -= 8) & 0xff));
  }
  return bytes;
}

class PrecompiledNormalizer : public Normalizer {
 public:
  explicit PrecompiledNormalizer(const JsonPart& part) {
    const std::string bytes = decode_base64(part);
    uint32_t trie_bytes = 0;
    if (bytes.size() >= 4) std::memcpy(&trie_bytes, bytes.data(), 4);
    if (bytes.size() < 4 || trie_bytes == 0 || trie_bytes % 4 != 0 ||
        trie_bytes > bytes.size() - 4) {
      part.fail("a trie's length and the trie", fmt::format("{} bytes", bytes.size()));
    }
    units_.resize(trie_bytes / 4);
    std::memcpy(units_.data(), bytes.data() + 4, trie_bytes);
    strings_ = bytes.substr(4 + trie_bytes);
    if (find_invalid_utf8(strings_) != strings_.npos) part.fail("strings in UTF-8", "other bytes");
  }

  void apply(StagedText& text) const override {
    const std::string_view all = text.text;
    std::string out;
    out.reserve(all.size());
    for (size_t at = 0; at < all.size();) {
      const size_t length = grapheme_length(all, at);
      append_grapheme(out, all.substr(at, length));
      at += length;
      text.check_size(out.size());
    }
    text.text = std::move(out);
  }

 private:
  // Short clusters are looked up whole first, as the reference does.
  void append_grapheme(std::string& out, std::string_view grapheme) const {
    std::string_view found;
    if (grapheme.size() < 6 && find(grapheme, found)) {
      out.append(found);
      return;
    }
    for (size_t at = 0; at < grapheme.size();) {
      const std::string_view character = grapheme.substr(at, utf8_length(grapheme[at]));
      out.append(find(character, found) ? found : character);
      at += character.size();
    }
  }

  // What the shortest rule that `key` begins with says. Unit: bit 8 has a leaf, bit 9 widens the
  // offset in bits 10 to 30, bits 0 to 7 and 31 the label; a leaf's lower 31 bits are its value.
  bool find(std::string_view key, std::string_view& found) const {
    const auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); };
    size_t node = offset(units_[0]);
    for (const char c : key) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte == 0) return false;
      node ^= byte;
      if (node >= units_.size()) return false;
      const uint32_t unit = units_[node];
      if ((unit & 0x800000ff) != byte) return false;
      node ^= offset(unit);
      if (node >= units_.size()) return false;
      if ((unit & 0x100) != 0) {
        const size_t begin = units_[node] & 0x7fffffff;
        if (begin > strings_.size()) return false;
        found = std::string_view(strings_).substr(begin);
        found = found.substr(0, found.find('\0'));
        return find_invalid_utf8(found) == found.npos;
      }
    }
    return false;
  }

  std::vector<uint32_t> units_;
  std::string strings_;
};

}  // namespace

std::unique_ptr<Normalizer> make_precompiled_normalizer(const JsonPart& part) {
  return std::make_unique<PrecompiledNormalizer>(part.member("precompiled_charsmap"));
}

}  // namespace lockstep::text
