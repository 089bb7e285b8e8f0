#include "serve/mailbox.h"

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace lockstep::serve {

namespace asio = boost::asio;

Mailbox::Mailbox(asio::any_io_executor executor)
    : executor_(executor), wake_(executor, asio::steady_timer::time_point::max()) {}

void Mailbox::push(size_t choice, TokenEvent&& event) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    items_.push_back({choice, std::move(event)});
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
        co_return std::exchange(items_, {});
      }
      posted_ = false;
    }
    boost::system::error_code ignored;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

}  // namespace lockstep::serve
