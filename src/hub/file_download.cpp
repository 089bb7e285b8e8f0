// One file of a model from the Hub into the cache.
#include "hub/file_download.h"

#include <fmt/format.h>

#include <filesystem>
#include <optional>

#include "base/file_lock.h"
#include "base/log.h"
#include "base/partial_file.h"
#include "hub/retry.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

fs::path incomplete(fs::path blob) { return blob += ".incomplete"; }

// 0 when there is none.
uint64_t size_of(const fs::path& path) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  return error ? 0 : size;
}

bool has_blob(const HubCache& cache, const HubFile& file) {
  const fs::path blob = cache.blob(file.etag);
  std::error_code ignored;
  return fs::is_regular_file(blob, ignored) && size_of(blob) == file.size;
}

// One attempt after the other until the part is a whole.
class Transfer {
 public:
  Transfer(const HubRepository& repository, HttpSession& session, const HubListing& listing,
           const HubFile& file, PartialFile& part, std::atomic<uint64_t>& n_bytes)
      : repository_(repository),
        session_(session),
        file_(file),
        part_(part),
        n_bytes_(n_bytes),
        retry_(session, repository.what(file)) {
    request_.url = repository.url(listing, file);
  }

  /// Throws, and leaves the part for later; a part that cannot be continued is emptied.
  void run() {
    if (part_.size() > file_.size) start_anew();
    hash_part();
    count(part_.size());
    for (bool again = false;; again = true) {
      while (part_.size() < file_.size) attempt();
      if (!hash_.has_value()) return;
      const std::string found = hash_->finish();
      if (found == file_.etag) return;
      start_anew();
      if (again) refuse_hash(found);
      // What an earlier run left may have been damaged: once more, from the start.
      log_warn(fmt::format("{}: its hash is wrong; fetching it again", repository_.what(file_)));
      hash_part();
    }
  }

 private:
  void hash_part() {
    hash_.reset();
    const auto kind = file_.hash_kind();
    if (!kind.has_value()) return;
    hash_.emplace(*kind, file_.size);
    part_.read([&](std::span<const std::byte> bytes) { hash_->add(bytes); });
  }

  void count(uint64_t n) {
    counted_ += n;
    n_bytes_ += n;
  }

  void start_anew() {
    n_bytes_ -= counted_;
    counted_ = 0;
    part_.truncate();
  }

  void attempt();
  void check_size(const HttpResponse& response) const;
  [[noreturn]] void refuse_size(const HttpResponse& response, uint64_t found) const {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: expected {} bytes, found {} at {}", repository_.what(file_),
                            file_.size, found, response.shown_url),
                "run it again; if it stays so, the Hub's description is wrong");
  }
  [[noreturn]] void refuse_hash(const std::string& found) const {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: expected the hash {}, found {} twice", repository_.what(file_),
                            file_.etag, found),
                "a proxy changes what it passes on, or the Hub's copy is damaged");
  }

  const HubRepository& repository_;
  HttpSession& session_;
  const HubFile& file_;
  PartialFile& part_;
  std::atomic<uint64_t>& n_bytes_;
  uint64_t counted_ = 0;
  Retry retry_;
  HttpRequest request_;
  std::optional<ContentHash> hash_;
};

void Transfer::check_size(const HttpResponse& response) const {
  const auto range = response.range();
  if (range.has_value() && range->total.has_value() && *range->total != file_.size) {
    refuse_size(response, *range->total);
  }
}

void Transfer::attempt() {
  const uint64_t begin = part_.size();
  request_.begin = begin > 0 ? std::optional(begin) : std::nullopt;
  bool is_first = true, is_misplaced = false;
  const HttpResponse response =
      session_.perform(request_, [&](const HttpResponse& so_far, std::span<const std::byte> bytes) {
        if (is_first && begin > 0 && so_far.status == 200) {
          // The range was ignored: this is the file from its start.
          start_anew();
          hash_part();
        } else if (is_first && so_far.status == 206) {
          const auto range = so_far.range();
          is_misplaced = !range.has_value() || range->begin != begin;
        }
        if (is_first) check_size(so_far);
        is_first = false;
        if (is_misplaced) return false;
        if (bytes.size() > file_.size - part_.size()) {
          const uint64_t found = part_.size() + bytes.size();
          start_anew();
          refuse_size(so_far, found);
        }
        part_.append(bytes);
        if (hash_.has_value()) hash_->add(bytes);
        count(bytes.size());
        return true;
      });
  if (is_misplaced) {
    start_anew();
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected the bytes from {} on, found others from {}",
                            repository_.what(file_), begin, response.shown_url),
                "run it again: it starts from the beginning");
  }
  if (part_.size() == file_.size) return;
  if (response.ok()) {
    const uint64_t found = part_.size();
    start_anew();
    refuse_size(response, found);
  }
  if (response.status == 416) {
    // The part does not fit what is there now.
    start_anew();
    hash_part();
  } else if (!response.is_passing()) {
    repository_.refuse(session_, response, file_.path);
  }
  retry_.wait(response, part_.size() > begin);
}

}  // namespace

uint64_t missing_bytes(const HubCache& cache, const HubFile& file) {
  if (has_blob(cache, file)) return 0;
  const uint64_t part = size_of(incomplete(cache.blob(file.etag)));
  return part > file.size ? file.size : file.size - part;
}

void fetch_file(const HubRepository& repository, const HubCache& cache, HttpSession& session,
                const HubListing& listing, HubFile file, std::atomic<uint64_t>& n_bytes) {
  repository.complete(session, listing, file);
  const fs::path blob = cache.blob(file.etag);
  // Another process that fetches the same is waited for.
  const FileLock lock(cache.lock(file.etag));
  if (has_blob(cache, file)) {
    n_bytes += file.size;
  } else {
    std::error_code error;
    fs::create_directories(blob.parent_path(), error);
    if (error) {
      throw Error(
          ErrorCode::kUnavailable,
          fmt::format("{}: cannot be created: {}", blob.parent_path().string(), error.message()),
          "point HF_HUB_CACHE at a folder that can be written to");
    }
    PartialFile part(incomplete(blob));
    Transfer(repository, session, listing, file, part, n_bytes).run();
    part.move_to(blob);
  }
  cache.link(listing.commit, file.path, file.etag);
}

}  // namespace lockstep
