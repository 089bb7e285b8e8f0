// The Hub's cache on disk.
#include "hub/hub_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <random>

#include "base/file.h"
#include "base/text.h"
#include "hub/shard_index.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHint = "download it first (lockstep download), or name a model folder";

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::string folder_name(const HubId& id) {
  std::string name = "models--" + id.name;
  if (const size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  return name;
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw Error(ErrorCode::kUnavailable,
                fmt::format("{}: cannot be created: {}", folder.string(), error.message()),
                "point HF_HUB_CACHE at a folder that can be written to");
  }
}

}  // namespace

HubCache::HubCache(const fs::path& root, const HubId& id)
    : id_(id), root_(root), repository_(root / folder_name(id)) {}

fs::path HubCache::snapshot(const std::string& commit) const {
  return repository_ / "snapshots" / commit;
}
fs::path HubCache::blob(const std::string& etag) const { return repository_ / "blobs" / etag; }
fs::path HubCache::lock(const std::string& etag) const {
  return root_ / ".locks" / folder_name(id_) / (etag + ".lock");
}

fs::path HubCache::find() const {
  if (!is_folder(repository_)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a model folder or a model in the local cache, found "
                            "neither ./{} nor {}",
                            id_.name, id_.name, repository_.string()),
                std::string(kHint));
  }
  // A full commit needs no ref.
  fs::path direct = snapshot(id_.revision);
  if (is_folder(direct)) return direct;
  const fs::path ref = repository_ / "refs" / id_.revision;
  if (!is_file(ref)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected revision {} in the local cache, found neither {} nor {}",
                            id_.name, quote_text(id_.revision), ref.string(), direct.string()),
                std::string(kHint));
  }
  std::string commit = read_text_file(ref, 4096);
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == '\r')) commit.pop_back();
  if (!is_hub_name(commit)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected a commit, found {}", ref.string(), quote_text(commit)));
  }
  fs::path folder = snapshot(commit);
  if (!is_folder(folder)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected the snapshot that {} names, found no {}", id_.name,
                            ref.string(), folder.string()),
                std::string(kHint));
  }
  return folder;
}

void HubCache::set_ref(const std::string& commit) const {
  if (commit == id_.revision) return;
  const fs::path ref = repository_ / "refs" / id_.revision;
  make_folder(ref.parent_path());
  AtomicFile file(ref);
  file.write(commit);
  file.commit();
}

void HubCache::link(const std::string& commit, const std::string& path,
                    const std::string& etag) const {
  const fs::path place = snapshot(commit) / path;
  make_folder(place.parent_path());
  const fs::path target = blob(etag).lexically_relative(place.parent_path());
  static std::atomic<unsigned> counter{0};
  fs::path temporary = place;
  temporary += fmt::format(".{:x}.{}.tmp", std::random_device{}(), counter.fetch_add(1));
  std::error_code error;
  fs::create_symlink(target, temporary, error);
  if (!error) fs::rename(temporary, place, error);
  if (error) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw Error(ErrorCode::kUnavailable,
                fmt::format("{}: cannot be linked to {}: {}", place.string(), target.string(),
                            error.message()),
                "point HF_HUB_CACHE at a file system that has symbolic links");
  }
}

bool is_complete_model(const fs::path& folder) {
  if (!is_file(folder / "config.json")) return false;
  if (is_file(folder / kSingleFile)) return true;
  if (!is_file(folder / kIndexFile)) return false;
  const std::vector<std::string> shards = read_shard_index(folder / kIndexFile).shards();
  return std::all_of(shards.begin(), shards.end(),
                     [&](const std::string& shard) { return is_file(folder / shard); });
}

}  // namespace lockstep
