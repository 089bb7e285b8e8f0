// A client for tests: bytes to and from a port of this machine.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lockstep::serve::test {

/// A connection to 127.0.0.1 that sends what it is told, right or wrong.
class Client {
 public:
  explicit Client(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    is_open_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Client() { close(); }
  bool is_open() const { return is_open_; }
  int descriptor() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
  /// What comes until `end` is there, the server closes, or nothing comes for two seconds.
  std::string receive_until(std::string_view end) {
    std::string got;
    while (end.empty() || got.find(end) == got.npos) {
      pollfd ready{fd_, POLLIN, 0};
      if (poll(&ready, 1, 2000) <= 0) return got + "<timeout>";
      char buffer[4096];
      const ssize_t n = recv(fd_, buffer, sizeof(buffer), 0);
      if (n <= 0) return got;
      got.append(buffer, static_cast<size_t>(n));
    }
    return got;
  }
  /// What is there, after up to a minute; empty when the server closed or nothing came.
  std::string receive_some(int milliseconds = 60'000) {
    pollfd ready{fd_, POLLIN, 0};
    if (poll(&ready, 1, milliseconds) <= 0) return {};
    char buffer[16384];
    const ssize_t n = recv(fd_, buffer, sizeof(buffer), 0);
    return n <= 0 ? std::string() : std::string(buffer, static_cast<size_t>(n));
  }
  std::string receive_all() { return receive_until(""); }

 private:
  int fd_;
  bool is_open_ = false;
};

struct Answer {
  int status = 0;
  std::string head, body;
};

/// The next answer with a content-length on `client`.
inline std::optional<Answer> read_answer(Client& client, std::string& waiting) {
  size_t end = waiting.find("\r\n\r\n");
  while (end == waiting.npos) {
    const std::string more = client.receive_some();
    if (more.empty()) return std::nullopt;
    waiting += more;
    end = waiting.find("\r\n\r\n");
  }
  if (!waiting.starts_with("HTTP/1.1 ")) return std::nullopt;
  Answer answer{std::stoi(waiting.substr(9, 3)), waiting.substr(0, end), {}};
  const size_t at = answer.head.find("content-length: ");
  const size_t length = at == answer.head.npos ? 0 : std::stoul(answer.head.substr(at + 16));
  while (waiting.size() < end + 4 + length) {
    const std::string more = client.receive_some();
    if (more.empty()) return std::nullopt;
    waiting += more;
  }
  answer.body = waiting.substr(end + 4, length);
  waiting.erase(0, end + 4 + length);
  return answer;
}

/// One request on a connection of its own.
inline std::optional<Answer> post(uint16_t port, const std::string& path, const std::string& body) {
  Client client(port);
  client.send("POST " + path + " HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n" +
              "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  std::string waiting;
  return read_answer(client, waiting);
}

}  // namespace lockstep::serve::test
