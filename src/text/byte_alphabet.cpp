#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace lockstep::text {
namespace {

struct Tables {
  std::array<char16_t, 256> character{};
  std::array<int16_t, 0x144> byte{};  // -1: outside
};

constexpr Tables make_tables() {
  Tables tables;
  tables.byte.fill(-1);
  char16_t next = 0x100;
  for (int i = 0; i < 256; ++i) {
    const bool itself =
        (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i <= 0xac) || (i >= 0xae && i <= 0xff);
    const char16_t c = itself ? static_cast<char16_t>(i) : next++;
    tables.character[static_cast<size_t>(i)] = c;
    tables.byte[c] = static_cast<int16_t>(i);
  }
  return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

void append_byte_alphabet(std::string& text, std::string_view bytes) {
  for (const char c : bytes) {
    append_code_point(text, kTables.character[static_cast<unsigned char>(c)]);
  }
}

std::optional<uint8_t> byte_of_alphabet(char32_t c) noexcept {
  if (c >= kTables.byte.size() || kTables.byte[c] < 0) return std::nullopt;
  return static_cast<uint8_t>(kTables.byte[c]);
}

bool append_bytes_of_alphabet(std::string& bytes, std::string_view text) {
  const size_t before = bytes.size();
  for (size_t at = 0; at < text.size();) {
    const std::optional<uint8_t> byte = byte_of_alphabet(next_code_point(text, at));
    if (!byte.has_value()) {
      bytes.resize(before);
      return false;
    }
    bytes.push_back(static_cast<char>(*byte));
  }
  return true;
}

}  // namespace lockstep::text
