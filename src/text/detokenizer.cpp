#include "text/detokenizer.h"

#include <algorithm>
#include <utility>

#include "text/decoder.h"
#include "text/literal_replacer.h"

namespace lockstep::text {

/// The end of the decoder: what is settled and not yet fetched, and what a stop string may begin
/// in.
class Detokenizer::Settled : public TokenSink {
 public:
  explicit Settled(std::vector<std::string> stop) : stop_(std::move(stop)) {
    std::erase_if(stop_, [](const std::string& text) { return text.empty(); });
  }

  void text(std::string_view part) override {
    if (stopped_) return;
    waiting_ += part;
    if (!may_stop_) {
      ready_ += std::exchange(waiting_, {});
      return;
    }
    size_t first = waiting_.npos;
    for (const std::string& text : stop_) {
      const size_t found = waiting_.find(text);
      if (found < first) {
        first = found;
        stop_string_ = text;
      }
    }
    if (first != waiting_.npos) {
      ready_.append(waiting_, 0, first);
      waiting_.clear();
      stopped_ = true;
      return;
    }
    size_t held = 0;
    for (const std::string& text : stop_) {
      held = std::max(held, partial_match_at_end(waiting_, text));
    }
    ready_.append(waiting_, 0, waiting_.size() - held);
    waiting_.erase(0, waiting_.size() - held);
  }
  void end_token() override {}
  void finish() override {
    ready_ += waiting_;
    waiting_.clear();
  }

  std::string fetch() { return std::exchange(ready_, {}); }
  bool stopped() const noexcept { return stopped_; }
  const std::string& stop_string() const noexcept { return stop_string_; }
  void set_may_stop(bool may_stop) { may_stop_ = may_stop; }

 private:
  std::vector<std::string> stop_;
  std::string ready_, waiting_, stop_string_;
  bool stopped_ = false, may_stop_ = true;
};

Detokenizer::Detokenizer(const Tokenizer& tokenizer, DecodeOptions options,
                         std::vector<std::string> stop)
    : tokenizer_(&tokenizer),
      options_(options),
      settled_(std::make_unique<Settled>(std::move(stop))),
      run_(tokenizer.start_decoding(*settled_)) {}

Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;
Detokenizer::~Detokenizer() = default;

std::string Detokenizer::push(int32_t id) {
  if (stopped()) return {};
  if (const std::optional<std::string_view> token = tokenizer_->decodable(id, options_)) {
    run_->whole_token(*token);
  }
  return settled_->fetch();
}

std::string Detokenizer::push_unstopped(int32_t id) {
  settled_->set_may_stop(false);
  std::string text = push(id);
  settled_->set_may_stop(true);
  return text;
}

std::string Detokenizer::finish() {
  run_->finish();
  return settled_->fetch();
}

bool Detokenizer::stopped() const noexcept { return settled_->stopped(); }

const std::string& Detokenizer::stop_string() const noexcept { return settled_->stop_string(); }

}  // namespace lockstep::text
