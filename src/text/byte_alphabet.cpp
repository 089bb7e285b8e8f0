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

bool append_bytes_of_alphabet(std::string& bytes, std::string_view text) {
  const size_t before = bytes.size();
  bytes.resize(before + text.size());
  char* out = bytes.data() + before;
  int all = 0;  // negative once a character is outside
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    const int byte = c < kTables.byte.size() ? kTables.byte[c] : -1;
    all |= byte;
    *out++ = static_cast<char>(byte);
  }
  bytes.resize(all < 0 ? before : static_cast<size_t>(out - bytes.data()));
  return all >= 0;
}

}  // namespace lockstep::text
