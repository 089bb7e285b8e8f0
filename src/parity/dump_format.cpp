#include "parity/dump_format.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "base/file.h"
#include "lockstep/error.h"
#include "tensor/safetensors.h"

namespace lockstep::parity {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string_view phase_name(Phase phase) noexcept {
  return phase == Phase::kPrefill ? "prefill" : "decode";
}
std::string_view role_name(TapRole role) noexcept {
  return role == TapRole::kInput ? "input" : "output";
}

std::string tap_key(const TapInfo& tap) {
  std::string key = tap.path;
  if (tap.call != 0) key += fmt::format("#{}", tap.call);
  key += fmt::format(":{}", role_name(tap.role));
  if (tap.index != 0) key += fmt::format(".{}", tap.index);
  return key;
}
std::string tap_tensor_name(const RunInfo& run, const TapInfo& tap) {
  return run.id + "/" + tap_key(tap);
}
std::string logits_tensor_name(const RunInfo& run) { return run.id + "/logits"; }

namespace {

std::string shape_text(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

struct Declared {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
};

/// Where the parts of a strided view land in a row-major tensor: calls `emit(offset, pointer,
/// count)` in elements, once per longest contiguous stretch.
template <class Emit>
void for_each_stretch(const View& rows, std::span<const int64_t> target_shape, int row_dim,
                      int64_t first_row, Emit&& emit) {
  const int rank = rows.rank;
  std::vector<int64_t> target_stride(static_cast<size_t>(rank), 1);
  for (int i = rank - 2; i >= 0; --i) target_stride[i] = target_stride[i + 1] * target_shape[i + 1];
  int inner = rank;  // dimensions [inner, rank) are contiguous in both
  int64_t stretch = 1;
  while (inner > 0 && rows.stride[inner - 1] == stretch && target_stride[inner - 1] == stretch) {
    stretch *= rows.shape[--inner];
    if (inner == row_dim) break;
  }
  std::vector<int64_t> at(static_cast<size_t>(rank), 0);
  const auto* base = static_cast<const std::byte*>(rows.data);
  const size_t size = dtype_size(rows.dtype);
  while (true) {
    int64_t source = 0, target = rank == 0 ? 0 : first_row * target_stride[row_dim];
    for (int i = 0; i < inner; ++i) {
      source += at[i] * rows.stride[i];
      target += at[i] * target_stride[i];
    }
    emit(target, base + static_cast<size_t>(source) * size, stretch);
    int i = inner - 1;
    while (i >= 0 && ++at[i] == rows.shape[i]) at[i--] = 0;
    if (i < 0) return;
  }
}

}  // namespace

struct DumpWriter::Impl {
  fs::path folder, temporary;
  DumpInfo info;
  Json config;
  std::vector<RunInfo> runs;
  std::vector<Json> taps;  // one array a run
  std::vector<std::optional<std::string>> logits;
  std::vector<GreedyInfo> greedy;
  std::vector<Declared> tensors;
  std::set<std::string> keys;  // "<run id>/<tap key>" of every tap
  std::unique_ptr<SafetensorsWriter> writer;
  bool begun = false, committed = false;

  void check_declaring() const {
    if (begun) throw Error(ErrorCode::kFailedPrecondition, "dump: declared after begin()");
  }
  void check_run(int run) const {
    if (run < 0 || run >= static_cast<int>(runs.size())) {
      throw Error(ErrorCode::kInvalidArgument, fmt::format("dump: there is no run {}", run));
    }
  }
  const Declared& tensor(Handle handle) const {
    if (handle.index < 0 || handle.index >= static_cast<int>(tensors.size())) {
      throw Error(ErrorCode::kInvalidArgument, "dump: a tensor that was never declared");
    }
    return tensors[handle.index];
  }
  Handle declare(std::string name, DType dtype, std::span<const int64_t> shape) {
    if (checked_product(shape) < 0 || shape.size() > kMaxRank) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("dump: {} cannot have shape {}", name, shape_text(shape)));
    }
    tensors.push_back({std::move(name), dtype, {shape.begin(), shape.end()}});
    return {static_cast<int>(tensors.size()) - 1};
  }
  void claim(const std::string& name) {
    if (!keys.insert(name).second) {
      throw Error(ErrorCode::kInvalidArgument, fmt::format("dump: {} is declared twice", name));
    }
  }
  void list_tap(int run, const TapInfo& tap, const Declared& stored) {
    taps[run].push_back({{"path", tap.path},
                         {"class", tap.module_class},
                         {"role", role_name(tap.role)},
                         {"name", tap.name ? Json(*tap.name) : Json(nullptr)},
                         {"index", tap.index},
                         {"call", tap.call},
                         {"tensor", stored.name},
                         {"shape", stored.shape},
                         {"stored_dtype", dtype_name(stored.dtype)}});
  }
  Json manifest() const;
};

Json DumpWriter::Impl::manifest() const {
  Json out = {{"format", kDumpFormat},
              {"version", kDumpVersion},
              {"producer", info.producer},
              {"model", info.model},
              {"architecture", info.architecture},
              {"config", config},
              {"runs", Json::array()},
              {"greedy", Json::array()},
              {"files", {std::string(kTensorsFile)}}};
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunInfo& run = runs[i];
    Json entry = {{"id", run.id},
                  {"dtype", run.dtype},
                  {"attention", run.attention},
                  {"device", run.device},
                  {"prompt", run.prompt},
                  {"prompt_ids", run.prompt_ids},
                  {"phase", phase_name(run.phase)},
                  {"step", run.step},
                  {"logits", logits[i] ? Json(*logits[i]) : Json(nullptr)},
                  {"taps", taps[i]}};
    out["runs"].push_back(std::move(entry));
  }
  for (const GreedyInfo& g : greedy) {
    out["greedy"].push_back({{"dtype", g.dtype},
                             {"attention", g.attention},
                             {"prompt", g.prompt},
                             {"tokens", g.tokens},
                             {"margins", g.margins}});
  }
  return out;
}

DumpWriter::DumpWriter(const fs::path& folder, DumpInfo info) : impl_(std::make_unique<Impl>()) {
  std::string name = folder.string();
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  impl_->folder = name;
  impl_->info = std::move(info);
  impl_->config = Json::parse(impl_->info.config_json, nullptr, false);
  if (impl_->config.is_discarded()) {
    throw Error(ErrorCode::kInvalidArgument, "dump: the model's config is not JSON");
  }
  std::error_code ec;
  if (fs::exists(impl_->folder, ec) && !fs::exists(impl_->folder / kManifestFile, ec) &&
      !(fs::is_directory(impl_->folder, ec) && fs::is_empty(impl_->folder, ec))) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{} exists and is not a dump", impl_->folder.string()),
                "give another --output, or remove it");
  }
  impl_->temporary = fmt::format("{}.tmp-{}", impl_->folder.string(), ::getpid());
  fs::remove_all(impl_->temporary, ec);
  fs::create_directories(impl_->temporary, ec);
  if (ec) {
    throw Error(ErrorCode::kUnavailable,
                fmt::format("{}: {}", impl_->temporary.string(), ec.message()));
  }
  impl_->writer = std::make_unique<SafetensorsWriter>(impl_->temporary / kTensorsFile);
}

DumpWriter::~DumpWriter() {
  if (impl_->committed) return;
  impl_->writer.reset();
  std::error_code ec;
  fs::remove_all(impl_->temporary, ec);
}

int DumpWriter::add_run(RunInfo run) {
  impl_->check_declaring();
  for (const RunInfo& other : impl_->runs) {
    if (other.id == run.id) {
      throw Error(ErrorCode::kInvalidArgument, fmt::format("dump: two runs are {}", run.id));
    }
  }
  impl_->runs.push_back(std::move(run));
  impl_->taps.push_back(Json::array());
  impl_->logits.emplace_back();
  return static_cast<int>(impl_->runs.size()) - 1;
}

DumpWriter::Handle DumpWriter::add_tap(int run, const TapInfo& tap, DType stored_dtype,
                                       std::span<const int64_t> shape) {
  impl_->check_declaring();
  impl_->check_run(run);
  const std::string name = tap_tensor_name(impl_->runs[run], tap);
  impl_->claim(name);
  const Handle handle = impl_->declare(name, stored_dtype, shape);
  impl_->list_tap(run, tap, impl_->tensors.back());
  return handle;
}

void DumpWriter::add_alias(int run, const TapInfo& tap, Handle same_as) {
  impl_->check_declaring();
  impl_->check_run(run);
  const Declared stored = impl_->tensor(same_as);
  impl_->claim(tap_tensor_name(impl_->runs[run], tap));
  impl_->list_tap(run, tap, stored);
}

DumpWriter::Handle DumpWriter::add_logits(int run, DType stored_dtype,
                                          std::span<const int64_t> shape) {
  impl_->check_declaring();
  impl_->check_run(run);
  const Handle handle = impl_->declare(logits_tensor_name(impl_->runs[run]), stored_dtype, shape);
  alias_logits(run, handle);
  return handle;
}

void DumpWriter::alias_logits(int run, Handle same_as) {
  impl_->check_declaring();
  impl_->check_run(run);
  if (impl_->logits[run]) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("dump: run {} has logits already", impl_->runs[run].id));
  }
  impl_->logits[run] = impl_->tensor(same_as).name;
}

void DumpWriter::add_greedy(GreedyInfo greedy) { impl_->greedy.push_back(std::move(greedy)); }

void DumpWriter::begin() {
  impl_->check_declaring();
  for (const Declared& t : impl_->tensors) impl_->writer->declare(t.name, t.dtype, t.shape);
  impl_->writer->begin();
  impl_->begun = true;
}

void DumpWriter::write_rows(Handle tensor, int64_t first_row, const View& rows, int row_dim) {
  const Declared& declared = impl_->tensor(tensor);
  const int rank = static_cast<int>(declared.shape.size());
  bool fits = rows.rank == rank && rows.dtype == declared.dtype &&
              rows.device == DeviceKind::kCpu && (rank == 0 || (row_dim >= 0 && row_dim < rank));
  for (int i = 0; fits && i < rank; ++i) {
    fits = i == row_dim || rows.shape[i] == declared.shape[i];
  }
  if (!fits) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("dump: {} is declared as {}{}, and rows {} were written along "
                            "dimension {}",
                            declared.name, dtype_name(declared.dtype), shape_text(declared.shape),
                            to_string(rows), row_dim));
  }
  if (rank > 0 && (first_row < 0 || first_row > declared.shape[row_dim] - rows.shape[row_dim])) {
    throw Error(
        ErrorCode::kOutOfRange,
        fmt::format("dump: {} has {} rows, and rows {} to {} were written", declared.name,
                    declared.shape[row_dim], first_row, first_row + rows.shape[row_dim] - 1));
  }
  if (rows.elements() == 0) return;
  const size_t size = dtype_size(declared.dtype);
  for_each_stretch(rows, declared.shape, row_dim, first_row,
                   [&](int64_t offset, const std::byte* data, int64_t count) {
                     impl_->writer->write(declared.name, static_cast<uint64_t>(offset) * size,
                                          {data, static_cast<size_t>(count) * size});
                   });
}

void DumpWriter::commit() {
  if (!impl_->begun || impl_->committed) {
    throw Error(ErrorCode::kFailedPrecondition, "dump: commit() without begin(), or twice");
  }
  impl_->writer->commit();
  AtomicFile manifest(impl_->temporary / kManifestFile);
  manifest.write(impl_->manifest().dump(1));
  manifest.commit();
  std::error_code ec;
  const fs::path& folder = impl_->folder;
  if (fs::exists(folder / kManifestFile, ec)) {
    // Swapped, so that at no time there is neither the old dump nor the new one.
    if (::renameat2(AT_FDCWD, impl_->temporary.c_str(), AT_FDCWD, folder.c_str(),
                    RENAME_EXCHANGE) == 0) {
      impl_->committed = true;
      fs::remove_all(impl_->temporary, ec);
      return;
    }
    fs::remove_all(folder, ec);
  }
  fs::rename(impl_->temporary, folder, ec);
  if (ec) {
    throw Error(ErrorCode::kUnavailable, fmt::format("{}: {}", folder.string(), ec.message()));
  }
  impl_->committed = true;
}

}  // namespace lockstep::parity
