// Decoders that make bytes: of GPT-2's alphabet, and of tokens like <0x0A>.
#include <optional>

#include "text/byte_alphabet.h"
#include "text/decoder_step.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

struct NoOptions {};

/// All tokens become one; what is not UTF-8 becomes U+FFFD, when no later byte can mend it.
class ByteLevel : public WholeTokens {
 public:
  ByteLevel(TokenSink& next, NoOptions) : WholeTokens(next) {}

 protected:
  void token(std::string_view token) override {
    // A token with a character outside the alphabet stands for its own bytes.
    if (!append_bytes_of_alphabet(bytes_, token)) bytes_ += token;
    if (is_ascii(bytes_)) {
      next().text(bytes_);
      bytes_.clear();
      return;
    }
    const size_t tail = incomplete_utf8_tail(bytes_);
    give(std::string_view(bytes_).substr(0, bytes_.size() - tail));
    bytes_.erase(0, bytes_.size() - tail);
  }
  void end() override {
    give(bytes_);
    bytes_.clear();
    next().end_token();
  }

 private:
  void give(std::string_view bytes) {
    if (bytes.empty()) return;
    if (find_invalid_utf8(bytes) == bytes.npos) {
      next().text(bytes);
      return;
    }
    mended_.clear();
    append_lossy_utf8(mended_, bytes);
    next().text(mended_);
  }
  std::string bytes_, mended_;
};

/// A run of byte tokens is text if all of it is UTF-8, else a U+FFFD each. So it waits for its end.
class ByteFallback : public WholeTokens {
 public:
  ByteFallback(TokenSink& next, NoOptions) : WholeTokens(next) {}

 protected:
  void token(std::string_view token) override {
    if (const std::optional<char> byte = byte_of(token)) {
      run_.push_back(*byte);
      return;
    }
    end();
    emit(token);
  }
  void end() override {
    if (run_.empty()) return;
    if (find_invalid_utf8(run_) == run_.npos) {
      emit(run_);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) emit(kReplacementCharacter);
    }
    run_.clear();
  }

 private:
  static std::optional<char> byte_of(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
    int value = 0;
    for (const char c : token.substr(3, 2)) {
      const int lower = c | 0x20;
      const bool decimal = c >= '0' && c <= '9';
      // Rust's number parser, which the reference uses, takes a sign.
      if (c == '+' && value == 0 && &c == token.data() + 3) continue;
      if (!decimal && !(lower >= 'a' && lower <= 'f')) return std::nullopt;
      value = value * 16 + (decimal ? c - '0' : lower - 'a' + 10);
    }
    return static_cast<char>(value);
  }
  std::string run_;
};

}  // namespace

std::unique_ptr<Decoder> make_byte_decoder(std::string_view type, const JsonPart&) {
  if (type == "ByteLevel") return std::make_unique<DecoderOf<ByteLevel, NoOptions>>(NoOptions{});
  if (type == "ByteFallback") {
    return std::make_unique<DecoderOf<ByteFallback, NoOptions>>(NoOptions{});
  }
  return nullptr;
}

}  // namespace lockstep::text
