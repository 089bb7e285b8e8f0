// A small Hub on loopback: one thread a connection, HTTP/1.1 with kept connections.
#include "hub_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <thread>

#include "hub/content_hash.h"

namespace lockstep::test {
namespace {

using nlohmann::json;

struct Answer {
  int status = 200;
  std::map<std::string, std::string> headers;
  ServedFile body;
};

std::string decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

Answer text_answer(int status, std::string text, std::map<std::string, std::string> headers = {}) {
  return {status, std::move(headers), {std::move(text), 0, false, ""}};
}

Answer error_answer(int status, const std::string& code, const std::string& message) {
  return text_answer(status, R"({"error":"no"})",
                     {{"X-Error-Code", code}, {"X-Error-Message", message}});
}

bool send_all(int socket, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

// Bytes [begin, end) of a file.
bool send_body(int socket, const ServedFile& file, uint64_t begin, uint64_t end) {
  const uint64_t stored = std::min<uint64_t>(end, file.bytes.size());
  if (begin < stored) {
    if (!send_all(socket, std::string_view(file.bytes).substr(begin, stored - begin))) return false;
    begin = stored;
  }
  const std::string zeros(1u << 16, '\0');
  while (begin < end) {
    const uint64_t n = std::min<uint64_t>(end - begin, zeros.size());
    if (!send_all(socket, std::string_view(zeros).substr(0, n))) return false;
    begin += n;
  }
  return true;
}

json listing(const std::string& id, const ServedModel& model) {
  json siblings = json::array();
  for (const auto& [path, file] : model.files) {
    json entry = {{"rfilename", path}};
    if (!model.is_terse && file.is_large) {
      entry["size"] = file.full_size();
      entry["blobId"] = std::string(40, 'b');
      entry["lfs"] = {{"sha256", etag_of(file)}, {"size", file.full_size()}, {"pointerSize", 130}};
    } else if (!model.is_terse) {
      entry["size"] = file.full_size();
      entry["blobId"] = etag_of(file);
    }
    siblings.push_back(entry);
  }
  return {{"id", id}, {"sha", model.commit}, {"siblings", siblings}};
}

}  // namespace

std::string etag_of(const ServedFile& file) {
  if (!file.etag.empty()) return file.etag;
  ContentHash hash(file.is_large ? ContentHash::Kind::kSha256 : ContentHash::Kind::kGitBlob,
                   file.full_size());
  hash.add(std::as_bytes(std::span(file.bytes)));
  const std::string zeros(file.full_size() - file.bytes.size(), '\0');
  hash.add(std::as_bytes(std::span(zeros)));
  return hash.finish();
}

struct HubServer::Impl {
  HubServer& owner;
  int listener = -1;
  uint16_t port = 0;
  std::atomic<bool> stop{false};
  mutable std::mutex mutex;
  std::vector<ServedRequest> requests;
  std::vector<int> sockets;
  std::vector<std::jthread> threads;
  std::jthread acceptor;

  explicit Impl(HubServer& server) : owner(server) {}

  void accept_all();
  void serve(int socket);
  bool answer(int socket, const ServedRequest& request);
  Answer answer_for(const ServedRequest& request) const;
  Answer api(const std::string& path, const std::string& query) const;
  Answer resolve(const ServedRequest& request, const std::string& path) const;
  Answer blob(const std::string& etag) const;
};

HubServer::HubServer() : impl_(std::make_unique<Impl>(*this)) {
  impl_->listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* place = reinterpret_cast<sockaddr*>(&address);
  if (impl_->listener < 0 || ::bind(impl_->listener, place, size) != 0 ||
      ::listen(impl_->listener, 64) != 0 || ::getsockname(impl_->listener, place, &size) != 0) {
    throw std::runtime_error("no socket on loopback");
  }
  impl_->port = ntohs(address.sin_port);
  impl_->acceptor = std::jthread([this] { impl_->accept_all(); });
}

HubServer::~HubServer() {
  impl_->stop = true;
  impl_->acceptor.join();
  {
    const std::lock_guard lock(impl_->mutex);
    for (const int socket : impl_->sockets) ::shutdown(socket, SHUT_RDWR);
  }
  impl_->threads.clear();
  for (const int socket : impl_->sockets) ::close(socket);
  ::close(impl_->listener);
}

std::string HubServer::url(const std::string& host) const {
  return fmt::format("http://{}:{}", host, impl_->port);
}

std::vector<ServedRequest> HubServer::requests() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->requests;
}

size_t HubServer::count(const std::string& part) const {
  const std::vector<ServedRequest> all = requests();
  return static_cast<size_t>(std::count_if(all.begin(), all.end(), [&](const ServedRequest& r) {
    return r.target.find(part) != std::string::npos;
  }));
}

void HubServer::forget_requests() {
  const std::lock_guard lock(impl_->mutex);
  impl_->requests.clear();
}

void HubServer::Impl::accept_all() {
  while (!stop) {
    pollfd waiting{listener, POLLIN, 0};
    if (::poll(&waiting, 1, 20) <= 0) continue;
    const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) continue;
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const std::lock_guard lock(mutex);
    sockets.push_back(socket);
    threads.emplace_back([this, socket] { serve(socket); });
  }
}

void HubServer::Impl::serve(int socket) {
  std::string buffer;
  for (;;) {
    size_t end;
    while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
      char bytes[4096];
      const ssize_t n = ::recv(socket, bytes, sizeof(bytes), 0);
      if (n <= 0) return;
      buffer.append(bytes, static_cast<size_t>(n));
    }
    ServedRequest request;
    const size_t space = buffer.find(' ');
    request.method = buffer.substr(0, space);
    request.target = buffer.substr(space + 1, buffer.find(' ', space + 1) - space - 1);
    for (size_t line = buffer.find("\r\n"); line < end; line = buffer.find("\r\n", line + 2)) {
      const std::string text = buffer.substr(line + 2, buffer.find("\r\n", line + 2) - line - 2);
      const auto take = [&](std::string_view name, std::string& value) {
        if (text.starts_with(name)) value = text.substr(name.size() + 2);
      };
      take("Host", request.host);
      take("Authorization", request.authorization);
      take("Range", request.range);
    }
    buffer.erase(0, end + 4);
    {
      const std::lock_guard lock(mutex);
      requests.push_back(request);
    }
    if (!answer(socket, request)) {
      ::shutdown(socket, SHUT_RDWR);
      return;
    }
  }
}

Answer HubServer::Impl::answer_for(const ServedRequest& request) const {
  const size_t question = request.target.find('?');
  const std::string path = request.target.substr(0, question);
  const std::string query =
      question == std::string::npos ? "" : request.target.substr(question + 1);
  if (path.starts_with("/api/models")) return api(path, query);
  if (path.starts_with("/blob/")) return blob(path.substr(6));
  if (path.find("/resolve/") != std::string::npos) return resolve(request, path);
  return text_answer(404, "");
}

Answer HubServer::Impl::api(const std::string& path, const std::string& query) const {
  if (path == "/api/models") {
    json found = json::array();
    const std::string name = decoded(query.substr(7, query.find('&') - 7));  // after search=
    for (const auto& [id, model] : owner.models) {
      json gated = model.is_gated ? json("auto") : json(false);
      if (id.find(name) != std::string::npos) found.push_back({{"id", id}, {"gated", gated}});
    }
    return text_answer(200, found.dump());
  }
  const size_t at = path.find("/revision/");
  const std::string id = path.substr(12, at - 12), revision = decoded(path.substr(at + 10));
  const auto model = owner.models.find(id);
  if (model == owner.models.end()) return error_answer(401, "RepoNotFound", "Repository not found");
  if (revision != "main" && revision != model->second.commit && revision != "refs/pr/1") {
    return error_answer(404, "RevisionNotFound", "Invalid rev id: " + revision);
  }
  return text_answer(200, listing(id, model->second).dump());
}

Answer HubServer::Impl::resolve(const ServedRequest& request, const std::string& path) const {
  const size_t at = path.find("/resolve/"), slash = path.find('/', at + 9);
  const auto model = owner.models.find(path.substr(1, at - 1));
  if (model == owner.models.end()) return error_answer(401, "RepoNotFound", "Repository not found");
  if (model->second.is_gated && request.authorization != "Bearer " + owner.granted_token) {
    return error_answer(request.authorization.empty() ? 401 : 403, "GatedRepo",
                        "Access is restricted. You sent " + request.authorization);
  }
  const auto file = model->second.files.find(decoded(path.substr(slash + 1)));
  if (file == model->second.files.end()) return error_answer(404, "EntryNotFound", "no entry");
  const std::string etag = etag_of(file->second);
  if (file->second.is_large && !owner.storage.empty()) {
    return text_answer(302, "",
                       {{"X-Repo-Commit", model->second.commit},
                        {"Location", owner.storage + "/blob/" + etag + "?signature=s3cret"},
                        {"X-Linked-Etag", "\"" + etag + "\""},
                        {"X-Linked-Size", std::to_string(file->second.full_size())}});
  }
  return {
      200, {{"ETag", "\"" + etag + "\""}, {"X-Repo-Commit", model->second.commit}}, file->second};
}

Answer HubServer::Impl::blob(const std::string& etag) const {
  if (owner.holds == nullptr) return text_answer(404, "");
  for (const auto& [id, model] : owner.holds->models) {
    for (const auto& [path, file] : model.files) {
      if (file.is_large && etag_of(file) == etag) return {200, {{"ETag", "\"other\""}}, file};
    }
  }
  return text_answer(404, "");
}

bool HubServer::Impl::answer(int socket, const ServedRequest& request) {
  const Fault wrong = owner.fault ? owner.fault(request) : Fault();
  if (wrong.delay_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(wrong.delay_ms));
  Answer answer =
      wrong.status != 0 ? text_answer(wrong.status, "{}", wrong.headers) : answer_for(request);
  if (answer.status == 200 && wrong.claimed_size) {
    answer.body.size = *wrong.claimed_size;
    answer.body.bytes.resize(std::min<uint64_t>(answer.body.bytes.size(), *wrong.claimed_size));
  }
  if (answer.status == 200 && wrong.damages) answer.body.bytes[0] ^= 1;
  const uint64_t size = answer.body.full_size();
  uint64_t begin = 0, end = size;
  std::string head;
  if (answer.status == 200 && request.range.starts_with("bytes=") && !wrong.ignores_range) {
    const std::string range = request.range.substr(6);
    const size_t dash = range.find('-');
    begin = std::stoull(range.substr(0, dash));
    if (dash + 1 < range.size())
      end = std::min<uint64_t>(size, std::stoull(range.substr(dash + 1)) + 1);
    answer.status = begin < size ? 206 : 416;
    if (begin >= size) begin = end = 0;
    head = answer.status == 206
               ? fmt::format("Content-Range: bytes {}-{}/{}\r\n", begin, end - 1, size)
               : fmt::format("Content-Range: bytes */{}\r\n", size);
  }
  for (const auto& [name, value] : answer.headers) head += fmt::format("{}: {}\r\n", name, value);
  head = fmt::format("HTTP/1.1 {} x\r\n{}Content-Length: {}\r\n\r\n", answer.status, head,
                     end - begin);
  if (!send_all(socket, head)) return false;
  if (request.method == "HEAD") return true;
  if (!wrong.cut_after) return send_body(socket, answer.body, begin, end);
  send_body(socket, answer.body, begin, std::min(end, begin + *wrong.cut_after));
  while (wrong.stalls && !stop) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return false;
}

}  // namespace lockstep::test
