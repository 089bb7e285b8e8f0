// Events of the engine's thread, handed to a coroutine of the server's.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/request.h"

namespace lockstep::serve {

/// Bounded: where nobody takes what comes (a client that reads too slowly), it closes itself.
class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  struct Item {
    size_t choice;
    TokenEvent event;
  };
  static constexpr size_t kMaxBytes = 16u << 20;
  explicit Mailbox(boost::asio::any_io_executor executor);

  /// From any thread. What comes after close() is dropped.
  void push(size_t choice, TokenEvent&& event);
  /// Wakes wait() for the last time. From the server's thread.
  void close();

  /// What has come since the last call, waiting for some. Empty when closed.
  boost::asio::awaitable<std::vector<Item>> wait();

 private:
  boost::asio::any_io_executor executor_;
  boost::asio::steady_timer wake_;
  std::mutex mutex_;
  std::vector<Item> items_;
  size_t bytes_ = 0;  // of items_, about
  bool posted_ = false, closed_ = false;
};

}  // namespace lockstep::serve
