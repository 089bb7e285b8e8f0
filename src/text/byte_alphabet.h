// GPT-2's alphabet: every byte as one printable character, so that a vocabulary of byte strings
// can be written as text. Printable Latin-1 stands for itself, the rest for U+0100 and up.
#pragma once

#include <string>
#include <string_view>

namespace lockstep::text {

/// Appends `bytes` in the alphabet.
void append_byte_alphabet(std::string& text, std::string_view bytes);
/// The bytes that `text`, valid UTF-8, stands for; false, and `bytes` as it was, where a character
/// is outside the alphabet.
bool append_bytes_of_alphabet(std::string& bytes, std::string_view text);

}  // namespace lockstep::text
