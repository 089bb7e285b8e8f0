// What the steps of decoding are made from.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "text/decoder.h"

namespace lockstep::text {

/// Collects a token before it is handled: for steps that need it whole.
class WholeTokens : public TokenSink {
 public:
  explicit WholeTokens(TokenSink& next) : next_(next) {}

  void text(std::string_view part) final { token_ += part; }
  void whole_token(std::string_view whole) final {
    if (token_.empty()) {
      token(whole);
    } else {
      TokenSink::whole_token(whole);
    }
  }
  void end_token() final {
    token(token_);
    token_.clear();
  }
  void finish() final {
    end();
    next_.finish();
  }

 protected:
  virtual void token(std::string_view token) = 0;
  /// After the last token.
  virtual void end() {}
  /// Hands on one token.
  void emit(std::string_view token) { next_.whole_token(token); }
  TokenSink& next() noexcept { return next_; }

 private:
  TokenSink& next_;
  std::string token_;
};

/// A decoder whose run is a `Run(next, options)`.
template <class Run, class Options>
class DecoderOf : public Decoder {
 public:
  explicit DecoderOf(Options options) : options_(std::move(options)) {}
  std::unique_ptr<TokenSink> start(TokenSink& next) const override {
    return std::make_unique<Run>(next, options_);
  }

 private:
  Options options_;
};

}  // namespace lockstep::text
