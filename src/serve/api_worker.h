// Api::off_thread, for the sources that define routes.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <type_traits>

#include "serve/api.h"

namespace lockstep::serve {

template <class Work>
boost::asio::awaitable<std::invoke_result_t<Work>> Api::off_thread(size_t bytes, Work work) {
  using Done = std::invoke_result_t<Work>;
  // Less than that takes less time than waking another thread on a busy machine.
  constexpr size_t kSmall = 4096;
  if (bytes <= kSmall) co_return work();
  co_return co_await boost::asio::co_spawn(
      workers_, [&work]() -> boost::asio::awaitable<Done> { co_return work(); },
      boost::asio::use_awaitable);
}

}  // namespace lockstep::serve
