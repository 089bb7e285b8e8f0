#include "parity/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lockstep::parity {

std::string short_number(double x) {
  if (x == 0) return "0";
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x > 0 ? "inf" : "-inf";
  const double size = std::abs(x);
  if (size >= 1e-3 && size < 1e4) return fmt::format("{:.3g}", x);
  return fmt::format("{:.1e}", x);
}

std::string elided(const std::string& text, size_t width) {
  if (text.size() <= width) return text;
  const size_t tail = width * 2 / 3;
  return text.substr(0, width - tail - 2) + ".." + text.substr(text.size() - tail);
}

std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text;
}

std::string wrapped(const std::string& text, size_t indent) {
  std::string out;
  const size_t first = std::min(text.find_first_not_of(' '), text.size());
  std::string line = text.substr(0, first);
  bool empty = true;
  size_t room = kReportColumns;
  for (size_t begin = first; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (!empty && line.size() + 1 + word.size() > room) {
      out += line + "\n" + std::string(indent, ' ');
      line.clear();
      empty = true;
      room = kReportColumns - indent;
    }
    line += (empty ? "" : " ") + word;
    empty = false;
    begin = end + 1;
  }
  return out + line;
}

std::string ranges_of(const std::vector<int>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", numbers[i]);
    if (last > i) text += fmt::format("-{}", numbers[last]);
    i = last + 1;
  }
  return text;
}

}  // namespace lockstep::parity
