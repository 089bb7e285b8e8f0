// A small Hub on loopback for tests: the API, /resolve/, a storage host, and faults on demand.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lockstep::test {

/// `bytes`, then zeros up to `size`. A large file is named by its sha256, as Git LFS does.
struct ServedFile {
  std::string bytes;
  uint64_t size = 0;  // 0: bytes.size()
  bool is_large = false;
  std::string etag;  // empty: computed

  uint64_t full_size() const { return size == 0 ? bytes.size() : size; }
};

struct ServedModel {
  std::string commit = "0123456789abcdef0123456789abcdef01234567";
  std::map<std::string, ServedFile> files;
  bool is_gated = false;
  /// The listing leaves out sizes and hashes, as some mirrors do.
  bool is_terse = false;
};

struct ServedRequest {
  std::string method, target, host, authorization, range;
};

/// What goes wrong with one answer.
struct Fault {
  int status = 0;                                // instead of the answer
  std::map<std::string, std::string> headers{};  // with it
  std::optional<uint64_t> cut_after{};           // bytes of the body, then the connection ends
  int delay_ms = 0;                              // before the answer
  bool stalls = false;                           // after cut_after: silence instead of an end
  bool ignores_range = false;
  std::optional<uint64_t> claimed_size{};  // sent and claimed instead of the file's
  bool damages = false;                    // another first byte
};

class HubServer {
 public:
  HubServer();
  ~HubServer();
  HubServer(const HubServer&) = delete;
  HubServer& operator=(const HubServer&) = delete;

  /// "http://<host>:<port>"; host is 127.0.0.1 or another name of it.
  std::string url(const std::string& host = "127.0.0.1") const;
  /// Set these before the first request, or between requests.
  std::map<std::string, ServedModel> models;
  std::string granted_token;         // opens gated models
  std::string storage;               // base URL large files redirect to; empty: served here
  const HubServer* holds = nullptr;  // a storage host serves this server's blobs
  std::function<Fault(const ServedRequest&)> fault;

  std::vector<ServedRequest> requests() const;
  /// How many requests have `part` in their target.
  size_t count(const std::string& part) const;
  void forget_requests();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string etag_of(const ServedFile& file);

}  // namespace lockstep::test
