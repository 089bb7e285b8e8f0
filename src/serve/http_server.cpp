// The server of http.h: Beast reads requests, one coroutine a connection, all on one thread.
//
//   idle --byte--> headers --Check--> body --Handler--> answer --> idle | closed
//
// Every stage has a deadline; a clock that ticks four times a second cuts what is late, so that a
// connection needs no timer of its own. An idle connection has no buffer.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <unordered_set>

#include "base/log.h"
#include "base/text.h"
#include "lockstep/error.h"
#include "serve/http.h"

namespace lockstep::serve {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using SteadyClock = std::chrono::steady_clock;
using TimePoint = SteadyClock::time_point;

namespace {

constexpr auto kTick = std::chrono::milliseconds(250);
constexpr auto kForever = TimePoint::max();
// For a client that sends on while it is turned down.
constexpr auto kLingerTime = std::chrono::seconds(2);
constexpr size_t kReadBytes = 16u << 10;

auto into(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The path of a request target: without query and host, %XX decoded.
std::string path_of(std::string_view target) {
  if (target.starts_with("http://")) {
    const size_t slash = target.find('/', 7);
    target = slash == target.npos ? "/" : target.substr(slash);
  }
  target = target.substr(0, target.find_first_of("?#"));
  std::string path;
  for (size_t i = 0; i < target.size(); ++i) {
    const int high = i + 2 < target.size() ? hex_value(target[i + 1]) : -1;
    const int low = i + 2 < target.size() ? hex_value(target[i + 2]) : -1;
    if (target[i] == '%' && high >= 0 && low >= 0) {
      path += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      path += target[i];
    }
  }
  return path;
}

std::string head_text(const HttpResponse& response, bool keep_alive, bool is_http_1_1,
                      std::optional<size_t> length) {
  const auto reason = http::obsolete_reason(http::int_to_status(response.status));
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", response.status, std::string_view(reason));
  if (!response.content_type.empty()) {
    head += fmt::format("content-type: {}\r\n", response.content_type);
  }
  if (length.has_value()) {
    head += fmt::format("content-length: {}\r\n", *length);
  } else if (is_http_1_1) {
    head += "transfer-encoding: chunked\r\n";
  }
  for (const auto& [name, value] : response.headers) {
    head += fmt::format("{}: {}\r\n", name, value);
  }
  if (!keep_alive) head += "connection: close\r\n";
  return head + "\r\n";
}

}  // namespace

std::string_view HttpRequest::header(std::string_view name) const {
  const auto found = std::ranges::find(headers, name, &std::pair<std::string, std::string>::first);
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

class Connection;

// Outlives its coroutines: they end with `context`.
struct HttpServer::Impl {
  Impl(const HttpOptions& options_, Check check_, Handler handler_)
      : options(options_), check(std::move(check_)), handler(std::move(handler_)) {}

  asio::awaitable<void> accept();
  asio::awaitable<void> tick();
  void close_when_drained();

  HttpOptions options;
  Check check;
  Handler handler;
  HttpServer* owner = nullptr;
  std::unordered_set<Connection*> connections;
  size_t body_bytes = 0, n_active = 0;
  bool draining = false;
  asio::io_context context{1};
  tcp::acceptor acceptor{context};
  asio::steady_timer end{context};
};

class Connection final : public Exchange, public std::enable_shared_from_this<Connection> {
 public:
  Connection(HttpServer::Impl& server, tcp::socket socket)
      : server_(&server), socket_(std::move(socket)) {
    server_->connections.insert(this);
  }
  ~Connection() override {
    forget_body();
    server_->connections.erase(this);
  }

  asio::awaitable<void> run();
  void expire_if_late(TimePoint now);
  bool is_idle() const { return idle_; }
  void close() {
    error_code ignored;
    socket_.close(ignored);
    tell_gone();
  }

  const HttpRequest& request() const override { return request_; }
  std::string take_body() override {
    forget_body();
    return std::move(request_.body);
  }
  asio::awaitable<void> respond(HttpResponse response) override;
  asio::awaitable<bool> begin(HttpResponse head) override;
  asio::awaitable<bool> write(std::string part) override;
  asio::awaitable<bool> end() override;
  void on_gone(std::function<void()> callback) override;

 private:
  using Parser = http::request_parser<http::buffer_body>;

  asio::awaitable<bool> wait_for_request();
  asio::awaitable<bool> read_head();
  asio::awaitable<bool> read_body();
  asio::awaitable<void> serve();
  asio::awaitable<void> turn_down(int status, std::string message);
  asio::awaitable<void> linger();
  asio::awaitable<bool> send(std::string bytes);
  void take_head();
  void watch();
  void tell_gone();
  void forget_body() {
    server_->body_bytes -= body_counted_;
    body_counted_ = 0;
  }
  bool count_body(size_t bytes);

  HttpServer::Impl* server_;
  tcp::socket socket_;
  beast::flat_buffer buffer_;
  std::unique_ptr<Parser> parser_;
  HttpRequest request_;
  std::function<void()> gone_;
  TimePoint deadline_ = kForever;
  size_t body_counted_ = 0;
  bool idle_ = true, timed_out_ = false, keep_alive_ = true, chunked_ = false;
  bool answered_ = false, in_parts_ = false, is_gone_ = false, unread_ = false;
  uint64_t watch_ = 0;  // the one that counts
};

void Connection::expire_if_late(TimePoint now) {
  if (now < deadline_) return;
  deadline_ = kForever;
  timed_out_ = true;
  error_code ignored;
  socket_.cancel(ignored);
}

asio::awaitable<void> Connection::run() {
  const auto self = shared_from_this();
  error_code ignored;
  socket_.set_option(tcp::no_delay(true), ignored);
  while (keep_alive_ && !is_gone_) {
    if (!co_await wait_for_request()) break;
    if (!co_await read_head()) break;
    ++server_->n_active;
    idle_ = false;
    co_await serve();
    idle_ = true;
    --server_->n_active;
    parser_.reset();
    request_ = {};
    forget_body();
    gone_ = nullptr;
    if (buffer_.size() == 0) buffer_ = {};
    if (server_->draining) break;
  }
  deadline_ = kForever;
  socket_.close(ignored);
  server_->close_when_drained();
}

asio::awaitable<bool> Connection::wait_for_request() {
  if (buffer_.size() > 0) co_return true;
  if (server_->draining) co_return false;
  deadline_ = SteadyClock::now() + server_->options.idle_time;
  error_code error;
  co_await socket_.async_wait(tcp::socket::wait_read, into(error));
  deadline_ = kForever;
  co_return !error;
}

asio::awaitable<bool> Connection::read_head() {
  parser_ = std::make_unique<Parser>();
  parser_->header_limit(static_cast<uint32_t>(server_->options.max_header_bytes));
  parser_->body_limit(boost::none);
  deadline_ = SteadyClock::now() + server_->options.header_time;
  error_code error;
  co_await http::async_read_header(socket_, buffer_, *parser_, into(error));
  deadline_ = kForever;
  chunked_ = false;
  if (!error) {
    take_head();
    co_return true;
  }
  keep_alive_ = false;
  if (timed_out_) {
    co_await turn_down(408, "the headers took too long");
  } else if (error == http::error::header_limit) {
    std::string message =
        fmt::format("headers: expected at most {} bytes", server_->options.max_header_bytes);
    co_await turn_down(431, std::move(message));
  } else if (error.category() == http::make_error_code(http::error::bad_method).category() &&
             error != http::error::end_of_stream && error != http::error::partial_message) {
    std::string message = "not an HTTP request: " + error.message();
    co_await turn_down(400, std::move(message));
  }
  co_return false;
}

void Connection::take_head() {
  const auto& head = parser_->get();
  request_ = {};
  request_.method = std::string(head.method_string());
  request_.path = path_of({head.target().data(), head.target().size()});
  for (const auto& field : head) {
    request_.headers.emplace_back(lower({field.name_string().data(), field.name_string().size()}),
                                  std::string(field.value()));
  }
  keep_alive_ = head.keep_alive();
  chunked_ = head.version() >= 11;
  answered_ = in_parts_ = false;
  unread_ = !parser_->is_done();
}

// The request whose headers are there: turned down, or read and answered.
asio::awaitable<void> Connection::serve() {
  if (std::optional<HttpResponse> answer = server_->check(request_)) {
    if (unread_) keep_alive_ = false;
    co_await respond(std::move(*answer));
    co_return;
  }
  if (unread_ && !co_await read_body()) co_return;
  watch();
  try {
    co_await server_->handler(*this);
  } catch (const std::exception& error) {
    log_error(fmt::format("{} {}: {}", request_.method, quote_text(request_.path), error.what()));
    keep_alive_ = false;
  }
  if (!answered_ && !is_gone_) {
    keep_alive_ = false;
    co_await turn_down(500, "internal error");
  }
  // An answer that broke off must not look as if it were whole.
  if (in_parts_) keep_alive_ = false;
  gone_ = nullptr;
  ++watch_;
  error_code ignored;
  socket_.cancel(ignored);
}

bool Connection::count_body(size_t bytes) {
  if (server_->body_bytes + bytes > server_->options.max_bodies_bytes) return false;
  server_->body_bytes += bytes;
  body_counted_ += bytes;
  return true;
}

asio::awaitable<bool> Connection::read_body() {
  const HttpOptions& options = server_->options;
  const std::string too_large =
      fmt::format("the body: expected at most {} bytes", options.max_body_bytes);
  if (parser_->content_length().value_or(0) > options.max_body_bytes) {
    co_await turn_down(413, too_large);
    co_return false;
  }
  if (lower(request_.header("expect")) == "100-continue") {
    std::string go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    const bool sent = co_await send(std::move(go_on));
    if (!sent) co_return false;
  }
  const TimePoint start = SteadyClock::now();
  const auto part = std::make_unique<std::array<char, kReadBytes>>();
  while (!parser_->is_done()) {
    deadline_ = start + options.body_time + std::chrono::seconds(request_.body.size() >> 16);
    parser_->get().body().data = part->data();
    parser_->get().body().size = part->size();
    error_code error;
    co_await http::async_read_some(socket_, buffer_, *parser_, into(error));
    deadline_ = kForever;
    if (error == http::error::need_buffer) error = {};
    if (timed_out_) {
      co_await turn_down(408, "the body took too long");
      co_return false;
    }
    if (error) {
      keep_alive_ = false;
      if (error.category() == http::make_error_code(http::error::bad_chunk).category() &&
          error != http::error::partial_message) {
        std::string message = "the body: " + error.message();
        co_await turn_down(400, std::move(message));
      }
      co_return false;
    }
    const size_t n = part->size() - parser_->get().body().size;
    if (request_.body.size() + n > options.max_body_bytes) {
      co_await turn_down(413, too_large);
      co_return false;
    }
    if (!count_body(n)) {
      co_await turn_down(503, "too many bodies at once; try again");
      co_return false;
    }
    request_.body.append(part->data(), n);
  }
  unread_ = false;
  co_return true;
}

// Says what is wrong and ends the connection: what the client sends on is not understood.
asio::awaitable<void> Connection::turn_down(int status, std::string message) {
  keep_alive_ = false;
  timed_out_ = false;
  HttpResponse response{status, "", "", {}};
  if (server_->owner->describe_failure) {
    response = server_->owner->describe_failure(status, message);
  }
  co_await respond(std::move(response));
}

// Closing while bytes come in would reset the connection, and the client might never read why.
asio::awaitable<void> Connection::linger() {
  error_code error;
  socket_.shutdown(tcp::socket::shutdown_send, error);
  deadline_ = SteadyClock::now() + kLingerTime;
  const auto part = std::make_unique<std::array<char, kReadBytes>>();
  size_t most = server_->options.max_body_bytes;
  while (!error && most > 0) {
    const size_t n = co_await socket_.async_read_some(asio::buffer(*part), into(error));
    most -= std::min(most, n);
  }
  deadline_ = kForever;
}

asio::awaitable<bool> Connection::send(std::string bytes) {
  error_code error;
  size_t done = 0;
  while (done < bytes.size() && !is_gone_) {
    deadline_ = SteadyClock::now() + server_->options.write_time;
    done += co_await socket_.async_write_some(
        asio::buffer(bytes.data() + done, bytes.size() - done), into(error));
    deadline_ = kForever;
    if (error) {
      close();
      co_return false;
    }
  }
  co_return !is_gone_;
}

asio::awaitable<void> Connection::respond(HttpResponse response) {
  if (answered_) co_return;
  answered_ = true;
  if (server_->draining) keep_alive_ = false;
  const bool has_body = request_.method != "HEAD";
  std::string bytes = head_text(response, keep_alive_, true, response.body.size());
  if (has_body) bytes += response.body;
  const bool sent = co_await send(std::move(bytes));
  if (sent && unread_) co_await linger();
}

asio::awaitable<bool> Connection::begin(HttpResponse head) {
  answered_ = in_parts_ = true;
  if (server_->draining || !chunked_) keep_alive_ = false;
  std::string bytes = head_text(head, keep_alive_, chunked_, std::nullopt);
  const bool sent = co_await send(std::move(bytes));
  co_return sent;
}

// GCC 12 destroys the operands of ?: twice in a co_await: such choices are made before.
asio::awaitable<bool> Connection::write(std::string part) {
  if (part.empty()) co_return !is_gone_;
  if (chunked_) part = fmt::format("{:x}\r\n{}\r\n", part.size(), part);
  const bool sent = co_await send(std::move(part));
  co_return sent;
}

asio::awaitable<bool> Connection::end() {
  in_parts_ = false;
  if (!chunked_) co_return !is_gone_;
  std::string last = "0\r\n\r\n";
  const bool sent = co_await send(std::move(last));
  co_return sent;
}

// While a request is answered its client sends nothing, unless it leaves.
void Connection::watch() {
  socket_.async_wait(
      tcp::socket::wait_read, [self = shared_from_this(), watch = ++watch_](error_code error) {
        if (error || watch != self->watch_) return;
        char byte = 0;
        const size_t n =
            self->socket_.receive(asio::buffer(&byte, 1), tcp::socket::message_peek, error);
        if (error == asio::error::would_block || (!error && n > 0)) return;
        self->close();
      });
}

void Connection::tell_gone() {
  is_gone_ = true;
  keep_alive_ = false;
  if (gone_) std::exchange(gone_, nullptr)();
}

void Connection::on_gone(std::function<void()> callback) {
  if (is_gone_) {
    callback();
  } else {
    gone_ = std::move(callback);
  }
}

asio::awaitable<void> HttpServer::Impl::accept() {
  while (acceptor.is_open()) {
    error_code error;
    tcp::socket socket = co_await acceptor.async_accept(into(error));
    if (error == asio::error::operation_aborted || !acceptor.is_open()) break;
    if (error) {
      // Out of descriptors, most likely: some come back when connections end.
      asio::steady_timer pause(context, std::chrono::milliseconds(50));
      co_await pause.async_wait(into(error));
      continue;
    }
    if (connections.size() >= options.max_connections) continue;
    socket.non_blocking(true, error);
    auto connection = std::make_shared<Connection>(*this, std::move(socket));
    asio::co_spawn(
        context, [connection] { return connection->run(); }, asio::detached);
  }
}

asio::awaitable<void> HttpServer::Impl::tick() {
  asio::steady_timer timer(context);
  for (;;) {
    timer.expires_after(kTick);
    error_code error;
    co_await timer.async_wait(into(error));
    const TimePoint now = SteadyClock::now();
    for (Connection* connection : connections) connection->expire_if_late(now);
  }
}

void HttpServer::Impl::close_when_drained() {
  if (draining && n_active == 0) context.stop();
}

HttpServer::HttpServer(const HttpOptions& options, Check check, Handler handler)
    : impl_(std::make_unique<Impl>(options, std::move(check), std::move(handler))) {
  impl_->owner = this;
  error_code error;
  tcp::resolver resolver(impl_->context);
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  const auto attempt = [&](auto&& step) {
    if (!error) step();
  };
  tcp::endpoint endpoint;
  if (!error) endpoint = found.begin()->endpoint();
  attempt([&] { impl_->acceptor.open(endpoint.protocol(), error); });
  attempt([&] { impl_->acceptor.set_option(tcp::acceptor::reuse_address(true), error); });
  attempt([&] { impl_->acceptor.bind(endpoint, error); });
  attempt([&] { impl_->acceptor.listen(4096, error); });
  if (error) {
    throw Error(ErrorCode::kUnavailable,
                fmt::format("--host {} --port {}: cannot listen: {}", options.host, options.port,
                            error.message()),
                "choose another --port; 0 takes any that is free");
  }
}

HttpServer::~HttpServer() = default;

uint16_t HttpServer::port() const noexcept {
  error_code ignored;
  return impl_->acceptor.local_endpoint(ignored).port();
}

asio::any_io_executor HttpServer::executor() const { return impl_->context.get_executor(); }

void HttpServer::run() {
  asio::co_spawn(impl_->context, impl_->accept(), asio::detached);
  asio::co_spawn(impl_->context, impl_->tick(), asio::detached);
  impl_->context.run();
}

void HttpServer::drain() {
  asio::post(impl_->context, [impl = impl_.get()] {
    impl->draining = true;
    error_code ignored;
    impl->acceptor.close(ignored);
    const std::vector<Connection*> all(impl->connections.begin(), impl->connections.end());
    for (Connection* connection : all) {
      if (connection->is_idle()) connection->close();
    }
    impl->close_when_drained();
  });
}

void HttpServer::stop() { impl_->context.stop(); }

void HttpServer::stop_after(std::chrono::milliseconds time) {
  asio::post(impl_->context, [impl = impl_.get(), time] {
    impl->end.expires_after(time);
    impl->end.async_wait([impl](error_code error) {
      if (!error) impl->context.stop();
    });
  });
}

HttpCounts HttpServer::counts() const { return {impl_->connections.size(), impl_->n_active}; }

}  // namespace lockstep::serve
