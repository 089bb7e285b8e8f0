// A regular expression as a tree.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "serve/automaton.h"

namespace lockstep::serve {

/// Characters first to last, both included; sorted and apart from each other.
using CharSet = std::vector<std::pair<uint32_t, uint32_t>>;

struct RegexNode {
  enum class Kind : uint8_t {
    kSet,       // one character of `set`
    kSequence,  // `children` one after the other; none: the empty text
    kEither,    // one of `children`
    kRepeat,    // the first child, min to max times
    kStart,     // ^
    kEnd,       // $
  };
  static constexpr uint32_t kNoMaximum = UINT32_MAX;

  Kind kind = Kind::kSequence;
  CharSet set{};
  std::vector<uint32_t> children{};
  uint32_t min = 0, max = kNoMaximum;
};

struct RegexTree {
  std::vector<RegexNode> nodes;
  uint32_t root = 0;
};

/// Throws SchemaRefused naming what is not understood and where. `pattern` is valid UTF-8.
RegexTree parse_regex(std::string_view pattern);

/// All characters (no surrogates).
const CharSet& any_char();

}  // namespace lockstep::serve
