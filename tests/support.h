// What tests of whole models share: goldens of the fixtures, and comparisons.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/pipeline.h"
#include "runtime/registry.h"
#include "tensor/safetensors.h"

namespace lockstep::test {

inline std::filesystem::path source_dir() { return LOCKSTEP_SOURCE_DIR; }

/// Fixtures that are too many to be committed; tests of them are left out where it is absent.
inline std::filesystem::path shared_fixtures() {
  return source_dir().parent_path() / "shared" / "fixtures" / "models";
}

inline std::filesystem::path fixture(const std::string& name) {
  if (name == "storyteller") return source_dir() / "examples" / name;
  const std::filesystem::path committed = source_dir() / "tests" / "fixtures" / name;
  return std::filesystem::exists(committed) ? committed : shared_fixtures() / name;
}

/// The committed fixtures with a golden, one a line.
inline const char* const kFixtures[] = {
    "storyteller",  //
    "llama",        //
    "llama_rope3",  //
    "gemma3",       //
    "gpt2",         //
    "mamba2",       //
    "mixtral",      //
    "deepseek_v3",  //
};

/// A temporary folder, removed at the end.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

/// The committed fixtures and every shared one whose architecture is registered.
inline std::vector<std::string> golden_fixtures() {
  std::vector<std::string> names(std::begin(kFixtures), std::end(kFixtures));
  if (!std::filesystem::exists(shared_fixtures())) return names;
  const Registry registry;
  std::vector<std::string> shared;
  for (const auto& entry : std::filesystem::directory_iterator(shared_fixtures())) {
    const std::string name = entry.path().filename().string();
    const std::string config = (entry.path() / "config.json").string();
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    const std::string class_name = read_json(config)["architectures"][0];
    if (registry.find(class_name) != nullptr) shared.push_back(name);
  }
  std::sort(shared.begin(), shared.end());
  names.insert(names.end(), shared.begin(), shared.end());
  return names;
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

inline std::vector<double> to_doubles(const View& view) {
  std::vector<double> values(static_cast<size_t>(view.elements()));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = load_element(view.data, view.dtype, static_cast<int64_t>(i));
  }
  return values;
}

/// ||a - b|| / ||b||; NaN where either holds one, so that EXPECT_LE fails.
inline double relative_l2(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

/// What transformers computed for a fixture (its golden folder).
struct Golden {
  explicit Golden(const std::string& name)
      : expected(read_json(fixture(name) / "golden" / "expected.json")),
        tensors(SafetensorsFile::open(fixture(name) / "golden" / "golden.safetensors")) {}

  std::vector<double> values(const std::string& tensor) const {
    return to_doubles(tensors.view(tensor));
  }
  std::vector<int32_t> prompt(size_t i) const { return expected["prompt_ids"][i]; }
  size_t n_prompts() const { return expected["prompt_ids"].size(); }
  std::vector<int32_t> long_ids() const { return expected["long_ids"]; }

  nlohmann::json expected;
  SafetensorsFile tensors;
};

inline Pipeline open_pipeline(const std::string& model, DType dtype, int64_t max_tokens = 512,
                              KernelPolicy kernels = {}, const Registry& registry = Registry()) {
  PipelineOptions options;
  options.max_tokens = max_tokens;
  options.max_logit_rows = max_tokens;
  options.max_context = 1024;
  options.kernels = std::move(kernels);
  return Pipeline(Model::open(model, registry, dtype), options);
}

/// Logits of every row of `ids`, fed in chunks of `chunk` (0: at once), widened.
inline std::vector<double> all_logits(Pipeline& pipeline, const std::vector<int32_t>& ids,
                                      size_t chunk = 0) {
  if (chunk == 0) chunk = ids.size();
  Sequence sequence;
  std::vector<double> logits;
  for (size_t begin = 0; begin < ids.size(); begin += chunk) {
    const Segment segment{&sequence,
                          std::span(ids).subspan(begin, std::min(chunk, ids.size() - begin)),
                          LogitRows::kAll};
    const std::vector<double> part = to_doubles(pipeline.step({&segment, 1}));
    logits.insert(logits.end(), part.begin(), part.end());
  }
  pipeline.release(sequence);
  return logits;
}

}  // namespace lockstep::test
