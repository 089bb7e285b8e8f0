// Text for messages.
#include "base/text.h"

#include <fmt/format.h>

namespace lockstep {

std::string quote_text(std::string_view text) {
  constexpr size_t kMaxBytes = 120;
  const bool cut = text.size() > kMaxBytes;
  if (cut) {
    size_t end = kMaxBytes;
    // Not in the middle of a UTF-8 sequence.
    while (end > kMaxBytes - 4 && (static_cast<unsigned char>(text[end]) & 0xc0u) == 0x80u) --end;
    text = text.substr(0, end);
  }
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  out += cut ? "...\"" : "\"";
  return out;
}

std::string counted(uint64_t n, std::string_view noun) {
  return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s");
}

}  // namespace lockstep
