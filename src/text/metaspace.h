// What the pre-tokenizer and the decoder of that name share.
#pragma once

#include <string>

#include "text/json_part.h"

namespace lockstep::text {

struct Metaspace {
  enum class Prepend { kAlways, kFirst, kNever };

  std::string replacement;  // one character
  Prepend prepend = Prepend::kAlways;
  bool split = true;

  /// Reads the older `add_prefix_space` as well, which must not contradict `prepend_scheme`.
  explicit Metaspace(const JsonPart& part);
};

}  // namespace lockstep::text
