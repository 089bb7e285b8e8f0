// Shell-like patterns over names: what --taps and quantisation rules are written in.
#pragma once

#include <string_view>

namespace lockstep {

/// `*` matches any run of characters, dots and slashes included; `?` matches one; anything else
/// matches itself. The whole of `text` must match. Time is at most pattern * text.
bool glob_match(std::string_view pattern, std::string_view text) noexcept;

}  // namespace lockstep
