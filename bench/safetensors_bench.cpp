// Reading the header of a file of 100,000 tensors: what a dry build of a large model starts with.
#include <unistd.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "base/file.h"
#include "bench/bench.h"
#include "tensor/safetensors.h"

namespace lockstep::bench {
namespace {

constexpr int kTensors = 100'000;

/// A file of kTensors tensors of four bytes each, with names as long as those of a mixture of
/// experts; removed at exit.
class LargeFile {
 public:
  LargeFile()
      : path_(std::filesystem::temp_directory_path() /
              ("lockstep_bench_" + std::to_string(::getpid()) + ".safetensors")) {
    SafetensorsWriter writer(path_);
    const std::array<int64_t, 2> shape{1, 1};
    for (int i = 0; i < kTensors; ++i) {
      names_.push_back("model.layers." + std::to_string(i / 1000) + ".mlp.experts." +
                       std::to_string(i % 1000) + ".down_proj.weight");
      writer.declare(names_.back(), DType::kFloat32, shape);
    }
    writer.begin();
    const float value = 1.0f;
    for (const std::string& name : names_) {
      writer.write(name, 0, std::as_bytes(std::span(&value, 1)));
    }
    writer.commit();
  }
  LargeFile(const LargeFile&) = delete;
  LargeFile& operator=(const LargeFile&) = delete;
  ~LargeFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::filesystem::path path_;
  std::vector<std::string> names_;
};

const LargeFile& large_file() {
  static const LargeFile file;
  return file;
}

void parse_header(benchmark::State& state) {
  const MappedFile map = MappedFile::open(large_file().path());
  const uint64_t header_bytes =
      parse_safetensors_header(map.bytes(), map.bytes().size(), "bench").data_offset;
  const RateReport rates(state, static_cast<double>(header_bytes), 0.0);
  for (auto _ : state) {
    const SafetensorsHeader header =
        parse_safetensors_header(map.bytes(), map.bytes().size(), "bench");
    if (header.tensors.size() != kTensors) {
      state.SkipWithError("tensors are missing");
      return;
    }
  }
}
BENCHMARK(parse_header)->Unit(benchmark::kMillisecond)->Apply(spread);

void open_and_find_all(benchmark::State& state) {
  const LargeFile& large = large_file();
  for (auto _ : state) {
    const SafetensorsFile file = SafetensorsFile::open(large.path());
    for (const std::string& name : large.names()) {
      if (file.find(name) == nullptr) {
        state.SkipWithError("a tensor was not found");
        return;
      }
    }
  }
  state.counters["tensors/s"] =
      benchmark::Counter(kTensors, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(open_and_find_all)->Unit(benchmark::kMillisecond)->Apply(spread);

}  // namespace
}  // namespace lockstep::bench
