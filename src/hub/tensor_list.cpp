// The tensors of a model from headers alone.
#include "hub/tensor_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <unordered_map>

#include "base/progress.h"
#include "hub/checkpoint.h"
#include "hub/download.h"
#include "hub/hub_cache.h"
#include "hub/hub_repository.h"
#include "hub/shard_index.h"
#include "hub/workers.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr uint64_t kFirstRead = 64u << 10;
// What a header has around a tensor's name, generously; and around all of them.
constexpr uint64_t kBytesPerTensor = 140, kBytesPerHeader = 1024;

// The header of `file`, of which `guess` bytes are asked for first. A second request is made only
// where the header is longer.
SafetensorsHeader read_header(const HubRepository& repository, HttpSession& session,
                              const HubListing& listing, const HubFile& file, uint64_t guess) {
  const std::string what = repository.what(file);
  if (file.known) guess = std::min(guess, file.size);
  if (guess < kLengthBytes) return parse_safetensors_header({}, guess, what);
  auto [bytes, size] = repository.read_range(session, listing, file, 0, guess);
  uint64_t length = 0;
  if (bytes.size() >= kLengthBytes) std::memcpy(&length, bytes.data(), sizeof(length));
  // Longer ones than this are refused below.
  if (length <= kMaxHeaderBytes && length + kLengthBytes <= size &&
      length + kLengthBytes > bytes.size()) {
    bytes +=
        repository.read_range(session, listing, file, bytes.size(), length + kLengthBytes).bytes;
  }
  return parse_safetensors_header(std::as_bytes(std::span(bytes)), size, what);
}

std::vector<SafetensorsHeader> read_headers(const HubRepository& repository,
                                            const HubListing& listing,
                                            const std::vector<const HubFile*>& files,
                                            const std::vector<uint64_t>& guesses) {
  std::vector<SafetensorsHeader> headers(files.size());
  std::atomic<bool> stop{false};
  std::atomic<size_t> n_done{0};
  Progress progress("reading headers of " + repository.id().text(), files.size());
  run_workers(
      repository.settings(), files.size(), repository.settings().parallel_headers, stop,
      [&](HttpSession& session, size_t i) {
        headers[i] = read_header(repository, session, listing, *files[i], guesses[i]);
        n_done.fetch_add(1);
      },
      [&] { progress.update(n_done); });
  return headers;
}

void append(SafetensorsHeader header, std::vector<TensorEntry>& tensors) {
  tensors.insert(tensors.end(), std::make_move_iterator(header.tensors.begin()),
                 std::make_move_iterator(header.tensors.end()));
}

TensorList list_sharded(const HubRepository& repository, HttpSession& session,
                        const HubListing& listing, const HubFile& index_file) {
  const ShardIndex index =
      parse_shard_index(repository.read_text(session, listing, index_file, kMaxIndexBytes),
                        repository.what(index_file));
  const std::vector<std::string> shards = index.shards();
  std::unordered_map<std::string_view, uint64_t> bytes_of;
  for (const auto& [tensor, shard] : index.weights) {
    bytes_of[shard] += tensor.size() + kBytesPerTensor;
  }
  std::vector<const HubFile*> files;
  std::vector<uint64_t> guesses;
  for (const std::string& shard : shards) {
    files.push_back(&require_file(listing, shard));
    guesses.push_back(kBytesPerHeader + bytes_of[shard]);
  }
  std::vector<SafetensorsHeader> headers = read_headers(repository, listing, files, guesses);
  std::vector<ShardHeader> stored;
  for (size_t i = 0; i < shards.size(); ++i) {
    stored.push_back({shards[i], repository.what(*files[i]), headers[i].tensors});
  }
  check_agreement(index, stored);
  TensorList list{repository.id().text(), true, shards.size(), {}};
  list.tensors.reserve(index.weights.size());
  for (SafetensorsHeader& header : headers) append(std::move(header), list.tensors);
  return list;
}

TensorList list_remote(const HubSettings& settings, const HubId& id) {
  const HubRepository repository(settings, id);
  std::atomic<bool> stop{false};
  HttpSession session(settings, stop);
  const HubListing listing = repository.list(session);
  if (const HubFile* single = listing.find(kSingleFile)) {
    TensorList list{id.text(), false, 1, {}};
    append(read_header(repository, session, listing, *single, kFirstRead), list.tensors);
    return list;
  }
  const HubFile* index = listing.find(kIndexFile);
  if (index == nullptr) refuse_weights(listing);
  return list_sharded(repository, session, listing, *index);
}

}  // namespace

TensorList list_tensors(const std::string& model, const HubSettings& settings) {
  const ModelPlace place = find_model(model, settings);
  if (place.is_missing) return list_remote(settings, *place.id);
  const Checkpoint checkpoint = Checkpoint::open(place.folder);
  std::error_code ignored;
  const bool is_sharded = !std::filesystem::exists(place.folder / kSingleFile, ignored);
  return {place.id.has_value() ? place.id->text() : model, is_sharded, checkpoint.n_files(),
          checkpoint.tensors()};
}

}  // namespace lockstep
