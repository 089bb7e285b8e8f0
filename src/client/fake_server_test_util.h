// A server of the tests' own, right or wrong: each request gets the bytes that a function makes.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace lockstep::client::test {

struct FakeRequest {
  std::string method, path, head, body;
};

/// Sends bytes on the connection; false: the client has left.
using Send = std::function<bool(const std::string&)>;
/// Answers one request; the connection is closed afterwards.
using Handler = std::function<void(const FakeRequest&, const Send&)>;

inline std::string http_answer(int status, const std::string& body,
                               const std::string& headers = "") {
  return "HTTP/1.1 " + std::to_string(status) + " Said\r\n" + headers +
         "Content-Type: application/json\r\nConnection: close\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

/// The head of an answer that ends when the connection does.
inline std::string stream_head() {
  return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
}

class FakeServer {
 public:
  explicit FakeServer(Handler handler) : handler_(std::move(handler)) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (bind(listener_, generic, size) != 0 || listen(listener_, 512) != 0 ||
        getsockname(listener_, generic, &size) != 0) {
      throw std::runtime_error("no port for a fake server");
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~FakeServer() {
    ends_ = true;
    acceptor_.join();
    for (std::thread& thread : connections_) thread.join();
    ::close(listener_);
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  int port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  /// Waits of handlers are to end when this is set.
  const std::atomic<bool>& ends() const { return ends_; }

 private:
  void accept_all() {
    while (!ends_) {
      pollfd ready{listener_, POLLIN, 0};
      if (poll(&ready, 1, 20) <= 0) continue;
      const int fd = accept(listener_, nullptr, nullptr);
      if (fd >= 0) connections_.emplace_back([this, fd] { serve(fd); });
    }
  }
  // The bytes up to `end`, or to the length that is wanted; empty where the client left.
  bool read_request(int fd, FakeRequest& request) {
    std::string text;
    size_t wanted = 0, head_end = std::string::npos;
    while (head_end == std::string::npos || text.size() < wanted) {
      pollfd ready{fd, POLLIN, 0};
      if (ends_) return false;
      if (poll(&ready, 1, 20) <= 0) continue;
      char buffer[16384];
      const ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
      if (n <= 0) return false;
      text.append(buffer, static_cast<size_t>(n));
      head_end = text.find("\r\n\r\n");
      if (head_end == std::string::npos) continue;
      const size_t at = text.find("Content-Length: ");
      wanted = head_end + 4 + (at < head_end ? std::stoul(text.substr(at + 16)) : 0);
    }
    request.head = text.substr(0, head_end);
    request.body = text.substr(head_end + 4);
    request.method = text.substr(0, text.find(' '));
    const size_t path = request.method.size() + 1;
    request.path = text.substr(path, text.find(' ', path) - path);
    return true;
  }
  void serve(int fd) {
    FakeRequest request;
    if (read_request(fd, request)) {
      handler_(request, [fd](const std::string& bytes) {
        size_t sent = 0;
        while (sent < bytes.size()) {
          const ssize_t n = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
          if (n <= 0) return false;
          sent += static_cast<size_t>(n);
        }
        return true;
      });
    }
    shutdown(fd, SHUT_RDWR);
    ::close(fd);
  }

  Handler handler_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> ends_ = false;
  std::thread acceptor_;
  std::vector<std::thread> connections_;  // of the acceptor alone, until it has ended
};

}  // namespace lockstep::client::test
