// Finding a model: a folder, or a Hub id in the local cache.
//
//   <cache>/models--org--name/refs/<revision>      the commit, as text
//   <cache>/models--org--name/snapshots/<commit>/  the folder
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "base/text.h"
#include "hub/checkpoint.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

struct HubId {
  std::string name;  // "org/name" or "name"
  std::string revision = "main";
};

bool is_name(std::string_view part) {
  return !part.empty() && part != "." && part != ".." &&
         std::all_of(part.begin(), part.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

// A branch may have slashes ("refs/pr/1"); nothing may leave the cache.
bool is_revision(std::string_view revision) {
  for (size_t begin = 0; begin <= revision.size();) {
    const size_t end = std::min(revision.find('/', begin), revision.size());
    if (!is_name(revision.substr(begin, end - begin))) return false;
    begin = end + 1;
  }
  return true;
}

// False when `model` cannot be an id.
bool parse_id(std::string_view model, HubId& id) {
  const size_t at = model.find('@');
  if (at != std::string_view::npos) {
    id.revision = model.substr(at + 1);
    model = model.substr(0, at);
  }
  id.name = model;
  const size_t slash = model.find('/');
  const bool named = slash == std::string_view::npos
                         ? is_name(model)
                         : is_name(model.substr(0, slash)) && is_name(model.substr(slash + 1));
  return named && is_revision(id.revision);
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// As huggingface_hub finds it; empty when there is no home either.
fs::path cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string value = environment(name); !value.empty()) return value;
  }
  if (const std::string home = environment("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  if (const std::string xdg = environment("XDG_CACHE_HOME"); !xdg.empty()) {
    return fs::path(xdg) / "huggingface" / "hub";
  }
  const std::string home = environment("HOME");
  return home.empty() ? fs::path() : fs::path(home) / ".cache" / "huggingface" / "hub";
}

fs::path snapshot_folder(const fs::path& cache, const HubId& id) {
  std::string slug = "models--" + id.name;
  if (const size_t slash = slug.find('/'); slash != std::string::npos) slug.replace(slash, 1, "--");
  const fs::path repository = cache / slug;
  constexpr std::string_view kHint =
      "download it first (huggingface-cli download), or name a model folder";
  if (!is_folder(repository)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a model folder or a model in the local cache, found "
                            "neither ./{} nor {}",
                            id.name, id.name, repository.string()),
                std::string(kHint));
  }
  // A full commit needs no ref.
  const fs::path direct = repository / "snapshots" / id.revision;
  if (is_folder(direct)) return direct;
  const fs::path ref = repository / "refs" / id.revision;
  std::error_code ignored;
  if (!fs::is_regular_file(ref, ignored)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected revision {} in the local cache, found neither {} nor {}",
                            id.name, quote_text(id.revision), ref.string(), direct.string()),
                std::string(kHint));
  }
  std::string commit = read_text_file(ref, 4096);
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == '\r')) commit.pop_back();
  if (!is_name(commit)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected a commit, found {}", ref.string(), quote_text(commit)));
  }
  const fs::path snapshot = repository / "snapshots" / commit;
  if (!is_folder(snapshot)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected the snapshot that {} names, found no {}", id.name,
                            ref.string(), snapshot.string()),
                std::string(kHint));
  }
  return snapshot;
}

}  // namespace

fs::path find_model_folder(const std::string& model) {
  if (is_folder(model)) return model;
  std::error_code ignored;
  if (fs::exists(model, ignored)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a model folder, found a file", model),
                "name the folder that holds config.json and the weights");
  }
  HubId id;
  if (!parse_id(model, id)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a model folder or org/name[@revision], found no such "
                            "folder",
                            quote_text(model)),
                "check the path");
  }
  return snapshot_folder(cache_folder(), id);
}

ModelFiles ModelFiles::open(const std::string& model) {
  const fs::path folder = find_model_folder(model);
  return {folder, ConfigFile::load(folder / "config.json"), Checkpoint::open(folder)};
}

}  // namespace lockstep
