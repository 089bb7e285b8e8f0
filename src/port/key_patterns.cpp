#include "port/key_patterns.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <set>

#include "base/text.h"

namespace lockstep::port {
namespace {

using Numbers = std::vector<uint64_t>;

// A name without its numbers, and these in their order.
struct Split {
  std::vector<std::string> words;  // one more than numbers: what stands around them
  Numbers numbers;
};

Split split_name(const std::string& name) {
  Split split{{""}, {}};
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    uint64_t number = 0;
    const auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), number);
    // "007" is no number that could be written back.
    const bool is_number = error == std::errc{} && stop == part.data() + part.size() &&
                           (part.size() == 1 || part[0] != '0');
    if (begin > 0) split.words.back() += '.';
    if (is_number) {
      split.numbers.push_back(number);
      split.words.emplace_back();
    } else {
      split.words.back() += part;
    }
    begin = end + 1;
  }
  return split;
}

// "3", "{0..3}", "{0,2,5..7}"
std::string set_text(const std::set<uint64_t>& values) {
  std::string text;
  size_t n_runs = 0;
  for (auto at = values.begin(); at != values.end();) {
    const uint64_t first = *at;
    uint64_t last = first;
    while (++at != values.end() && *at == last + 1) ++last;
    if (n_runs++ > 0) text += ',';
    text += first == last       ? fmt::format("{}", first)
            : last == first + 1 ? fmt::format("{},{}", first, last)
                                : fmt::format("{}..{}", first, last);
  }
  return values.size() == 1 ? text : "{" + text + "}";
}

using Sets = std::vector<std::set<uint64_t>>;

// Divides tuples into products of sets: those of one first number are taken together where what
// follows them is the same.
std::vector<Sets> products_of(const std::set<Numbers>& tuples) {
  if (tuples.begin()->empty()) return {{}};
  std::map<uint64_t, std::set<Numbers>> rest;
  for (const Numbers& tuple : tuples) {
    rest[tuple[0]].insert(Numbers(tuple.begin() + 1, tuple.end()));
  }
  std::map<std::set<Numbers>, std::set<uint64_t>> alike;
  for (const auto& [first, following] : rest) alike[following].insert(first);
  std::vector<Sets> products;
  for (const auto& [following, firsts] : alike) {
    for (Sets& sets : products_of(following)) {
      sets.insert(sets.begin(), firsts);
      products.push_back(std::move(sets));
    }
  }
  std::ranges::sort(products);
  return products;
}

}  // namespace

std::vector<KeyPattern> collapse_keys(const std::vector<std::string>& names) {
  std::map<std::vector<std::string>, size_t> place;
  std::vector<std::pair<std::vector<std::string>, std::set<Numbers>>> groups;
  for (const std::string& name : names) {
    Split split = split_name(name);
    const auto [at, is_new] = place.emplace(split.words, groups.size());
    if (is_new) groups.push_back({split.words, {}});
    groups[at->second].second.insert(std::move(split.numbers));
  }
  std::vector<KeyPattern> patterns;
  for (const auto& [words, tuples] : groups) {
    for (const Sets& sets : products_of(tuples)) {
      KeyPattern pattern{words[0], 1};
      for (size_t i = 0; i < sets.size(); ++i) {
        pattern.text += set_text(sets[i]) + words[i + 1];
        pattern.n *= sets[i].size();
      }
      patterns.push_back(std::move(pattern));
    }
  }
  return patterns;
}

std::vector<std::string> pattern_lines(const std::vector<std::string>& names, size_t most) {
  std::vector<std::string> lines;
  size_t n_left_out = 0, n_patterns_left_out = 0;
  for (const KeyPattern& pattern : collapse_keys(names)) {
    if (lines.size() < most) {
      lines.push_back(pattern.n == 1
                          ? pattern.text
                          : fmt::format("{} ({})", pattern.text, counted(pattern.n, "tensor")));
    } else {
      ++n_patterns_left_out;
      n_left_out += pattern.n;
    }
  }
  if (n_left_out > 0) {
    lines.push_back(
        fmt::format("... and {} more ({})", n_patterns_left_out, counted(n_left_out, "tensor")));
  }
  return lines;
}

}  // namespace lockstep::port
