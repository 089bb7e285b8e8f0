// Replacing a string in a text that comes in parts: what may still become a match waits.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/decoder.h"

namespace lockstep::text {

/// How many bytes at the end of `text` a later text could complete to one of `literal`: the longest
/// proper prefix of it that `text` ends in.
size_t partial_match_at_end(std::string_view text, std::string_view literal) noexcept;

/// Replaces `from`, not empty, by `to` in every token.
std::unique_ptr<Decoder> make_literal_decoder(std::string from, std::string to);

}  // namespace lockstep::text
