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

class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  struct Item {
    size_t choice;
    TokenEvent event;
  };
  explicit Mailbox(boost::asio::any_io_executor executor);

  /// From any thread. What comes after close() is dropped.
  void push(size_t choice, TokenEvent&& event);
  /// Wakes wait() for the last time. From the server's thread.
  void close();
  bool is_closed() const { return closed_; }

  /// What has come since the last call, waiting for some. Empty when closed.
  boost::asio::awaitable<std::vector<Item>> wait();

 private:
  boost::asio::any_io_executor executor_;
  boost::asio::steady_timer wake_;
  std::mutex mutex_;
  std::vector<Item> items_;
  bool posted_ = false, closed_ = false;
};

}  // namespace lockstep::serve
