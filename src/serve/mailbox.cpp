#include "serve/mailbox.h"

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace lockstep::serve {

namespace asio = boost::asio;

namespace {

size_t size_of(const TokenEvent& event) {
  const size_t n_top = event.logprobs.has_value() ? event.logprobs->top.size() : 0;
  return sizeof(Mailbox::Item) + n_top * sizeof(TokenLogprob) +
         event.embedding.size() * sizeof(float);
}

}  // namespace

Mailbox::Mailbox(asio::any_io_executor executor)
    : executor_(executor), wake_(executor, asio::steady_timer::time_point::max()) {}

void Mailbox::push(size_t choice, TokenEvent&& event) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    bytes_ += size_of(event);
    items_.push_back({choice, std::move(event)});
    if (bytes_ > kMaxBytes) {
      closed_ = true;
      items_.clear();
    }
    if (std::exchange(posted_, true)) return;
  }
  asio::post(executor_, [self = shared_from_this()] { self->wake_.cancel(); });
}

void Mailbox::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    items_.clear();
  }
  wake_.cancel();
}

asio::awaitable<std::vector<Mailbox::Item>> Mailbox::wait() {
  const auto self = shared_from_this();
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_ || !items_.empty()) {
        posted_ = false;
        bytes_ = 0;
        co_return std::exchange(items_, {});
      }
      posted_ = false;
    }
    boost::system::error_code ignored;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

}  // namespace lockstep::serve
