// A model's files from the Hub into the cache.
#include "hub/download.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "base/glob.h"
#include "base/log.h"
#include "base/machine_memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "hub/file_download.h"
#include "hub/hub_cache.h"
#include "hub/shard_index.h"
#include "hub/workers.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSpareBytes = 64u << 20;

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// Everything about a model but its weights.
bool is_wanted(const std::string& path) {
  constexpr std::array kPatterns = {"*.json",     "*.jinja", "*.txt", "*.model",
                                    "*.tiktoken", "*.py",    "*.md",  "*.jsonl"};
  if (path == kIndexFile || path.ends_with(".index.json")) return false;
  const bool nested = path.find('/') != std::string::npos;
  if (nested && !path.starts_with("additional_chat_templates/")) return false;
  return std::any_of(kPatterns.begin(), kPatterns.end(),
                     [&](const char* pattern) { return glob_match(pattern, path); });
}

std::string in_units(uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (bytes >= 1'000'000'000) return fmt::format("{:.1f} GB", value / 1e9);
  return bytes >= 1'000'000 ? fmt::format("{:.1f} MB", value / 1e6) : counted(bytes, "byte");
}

// `folder` or the nearest above it that exists.
fs::path existing(fs::path folder) {
  while (!is_folder(folder) && folder.has_relative_path()) folder = folder.parent_path();
  return folder.empty() ? fs::path(".") : folder;
}

void check_disk(const HubId& id, const fs::path& folder, uint64_t needed) {
  std::error_code error;
  const fs::space_info space = fs::space(existing(folder), error);
  if (error || space.available >= needed + kSpareBytes) return;
  throw Error(ErrorCode::kResourceExhausted,
              fmt::format("{}: expected room for {} in {}, found {}", id.text(), in_units(needed),
                          folder.string(), in_units(space.available)),
              "free some space, or point HF_HUB_CACHE at a larger disk");
}

// One model's download: what is there, what is missing, and how far it is.
class Download {
 public:
  Download(const HubSettings& settings, const HubId& id)
      : settings_(settings), repository_(settings, id), cache_(settings.cache, id) {}

  fs::path run(DownloadParts parts);

 private:
  void fetch(HttpSession& session, const HubFile& file) {
    fetch_file(repository_, cache_, session, listing_, file, n_bytes_);
  }
  std::vector<HubFile> missing_files(HttpSession& session, const std::vector<std::string>& weights);
  std::vector<std::string> weight_files(HttpSession& session);
  void fetch_all(const std::vector<HubFile>& files);

  const HubSettings& settings_;
  HubRepository repository_;
  HubCache cache_;
  HubListing listing_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> n_bytes_{0};
};

std::vector<std::string> Download::weight_files(HttpSession& session) {
  if (listing_.find(kSingleFile) != nullptr) return {std::string(kSingleFile)};
  const HubFile* index = listing_.find(kIndexFile);
  if (index == nullptr) refuse_weights(listing_);
  fetch(session, *index);
  return read_shard_index(cache_.snapshot(listing_.commit) / kIndexFile).shards();
}

std::vector<HubFile> Download::missing_files(HttpSession& session,
                                             const std::vector<std::string>& weights) {
  std::vector<HubFile> files;
  for (const HubFile& file : listing_.files) {
    if (is_wanted(file.path)) files.push_back(file);
  }
  for (const std::string& path : weights) files.push_back(require_file(listing_, path));
  uint64_t needed = 0, weight_bytes = 0;
  for (HubFile& file : files) {
    repository_.complete(session, listing_, file);
    needed += missing_bytes(cache_, file);
    if (file.path.ends_with(".safetensors")) weight_bytes += file.size;
  }
  check_disk(listing_.id, cache_.repository(), needed);
  const uint64_t memory = available_memory();
  if (memory != 0 && weight_bytes > memory) {
    log_warn(
        fmt::format("{}: its weights take {}, {} of memory are free: it will run from the "
                    "disk, slowly",
                    listing_.id.text(), in_units(weight_bytes), in_units(memory)));
  }
  if (needed > 0) {
    log_info(fmt::format("{}: fetching {} to {}", listing_.id.text(), in_units(needed),
                         cache_.snapshot(listing_.commit).string()));
  }
  return files;
}

void Download::fetch_all(const std::vector<HubFile>& files) {
  constexpr uint64_t kMegabyte = 1'000'000;
  uint64_t total = 0;
  for (const HubFile& file : files) total += file.size;
  n_bytes_ = 0;
  Progress progress(fmt::format("fetching {} (MB)", listing_.id.text()),
                    std::max<uint64_t>(1, total / kMegabyte));
  run_workers(
      settings_, files.size(), settings_.parallel_files, stop_,
      [&](HttpSession& session, size_t i) { fetch(session, files[i]); },
      [&] { progress.update(n_bytes_ / kMegabyte); });
}

fs::path Download::run(DownloadParts parts) {
  if (settings_.cache.empty()) {
    throw Error(ErrorCode::kFailedPrecondition, "expected a folder for the Hub's cache, found none",
                "set HF_HUB_CACHE, HF_HOME or HOME");
  }
  HttpSession session(settings_, stop_);
  listing_ = repository_.list(session);
  // The first file tells whether the model is gated, before anything else is looked at.
  fetch(session, require_file(listing_, "config.json"));
  std::vector<std::string> weights;
  if (parts == DownloadParts::kAll) weights = weight_files(session);
  const std::vector<HubFile> files = missing_files(session, weights);
  fetch_all(files);
  cache_.set_ref(listing_.commit);
  return cache_.snapshot(listing_.commit);
}

}  // namespace

ModelPlace find_model(const std::string& model, const HubSettings& settings) {
  if (is_folder(model)) return {model, std::nullopt, false};
  std::error_code ignored;
  if (fs::exists(model, ignored)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a model folder, found a file", model),
                "name the folder that holds config.json and the weights");
  }
  ModelPlace place;
  place.id = HubId::parse(model);
  if (!place.id.has_value()) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a model folder or org/name[@revision], found no such "
                            "folder",
                            quote_text(model)),
                "check the path");
  }
  try {
    place.folder = HubCache(settings.cache, *place.id).find();
    place.is_missing = !settings.offline && !is_complete_model(place.folder);
  } catch (const Error& error) {
    if (settings.offline || error.code() != ErrorCode::kNotFound) throw;
    place.is_missing = true;
  }
  return place;
}

fs::path download_model(const HubSettings& settings, const HubId& id, DownloadParts parts) {
  if (settings.offline) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: cannot be fetched, HF_HUB_OFFLINE is set", id.text()),
                "unset it, or name a model that is in the cache");
  }
  return Download(settings, id).run(parts);
}

const HubFile& require_file(const HubListing& listing, const std::string& path) {
  if (const HubFile* file = listing.find(path)) return *file;
  throw Error(ErrorCode::kNotFound,
              fmt::format("{}: expected {} on the Hub, found no such file among {}",
                          listing.id.text(), path, counted(listing.files.size(), "file")),
              "check that it is a model that transformers loads");
}

void refuse_weights(const HubListing& listing) {
  std::string others;
  for (const HubFile& file : listing.files) {
    for (const char* end : {".bin", ".pt", ".pth", ".ckpt", ".gguf", ".safetensors", ".h5"}) {
      if (file.path.ends_with(end) && others.size() < 200) {
        others += (others.empty() ? "" : ", ") + quote_text(file.path);
      }
    }
  }
  throw Error(others.empty() ? ErrorCode::kNotFound : ErrorCode::kUnimplemented,
              fmt::format("{}: expected {} or {}, found {}", listing.id.text(), kSingleFile,
                          kIndexFile, others.empty() ? "no weights" : others),
              "convert them with transformers: model.save_pretrained(folder)");
}

}  // namespace lockstep
