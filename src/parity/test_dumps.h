// Made-up recordings for tests: a model of a few layers whose every value is random, and what can
// be wrong with a recording of it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "parity/diff.h"
#include "parity/dump_format.h"
#include "parity/recording.h"
#include "parity/replay_values.h"

namespace lockstep::parity::testing {

inline constexpr int kTokens = 24, kWidth = 64, kHeads = 4, kVocab = 96, kLayers = 3;

struct FakeTensor {
  TapInfo info;
  std::vector<int64_t> shape;
  std::vector<float> values;
  DType stored = DType::kFloat32;
};

struct FakeRun {
  RunInfo info;
  std::vector<FakeTensor> taps;
  std::optional<FakeTensor> logits;

  FakeTensor& tap(const std::string& path) {
    for (FakeTensor& t : taps) {
      if (t.info.path == path && t.info.role == TapRole::kOutput) return t;
    }
    throw std::runtime_error("no tap " + path);
  }
  void erase(const std::string& prefix) {
    std::erase_if(taps, [&](const FakeTensor& t) { return t.info.path.starts_with(prefix); });
  }
};

inline std::vector<float> random_values(size_t n, size_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(n);
  for (float& x : out) x = normal(engine);
  return out;
}

inline std::vector<int64_t> some_ids(int n, int seed = 1) {
  std::vector<int64_t> ids;
  for (int i = 0; i < n; ++i) ids.push_back((i * 37 + seed * 11) % kVocab);
  return ids;
}

/// What a sound reference would hold: the same for the same ids.
inline FakeRun truth_run(const std::vector<int64_t>& ids, int prompt = 0,
                         Phase phase = Phase::kPrefill, int step = 0) {
  FakeRun run;
  run.info = {"", "float32", "eager", "cpu", prompt, ids, phase, step};
  const int64_t tokens = phase == Phase::kPrefill ? static_cast<int64_t>(ids.size()) : 1;
  size_t seed = 17;
  for (const int64_t id : ids) seed = seed * 1000003 + static_cast<size_t>(id);
  const auto add = [&](const std::string& path, const char* name, std::vector<int64_t> shape) {
    int64_t n = 1;
    for (const int64_t d : shape) n *= d;
    FakeTensor t;
    t.info.path = path;
    t.info.module_class = name;
    t.shape = std::move(shape);
    t.values = random_values(static_cast<size_t>(n), seed + std::hash<std::string>()(path));
    run.taps.push_back(std::move(t));
  };
  add("model.embed_tokens", "Embedding", {tokens, kWidth});
  for (int i = 0; i < kLayers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i);
    add(layer + ".input_layernorm", "RMSNorm", {tokens, kWidth});
    add(layer + ".self_attn.q_proj", "Linear", {tokens, kWidth});
    add(layer + ".self_attn/q_rot", "", {tokens, kHeads, kWidth / kHeads});
    add(layer + ".self_attn", "Attention", {tokens, kWidth});
    add(layer + ".mlp", "MLP", {tokens, kWidth});
    add(layer, "Layer", {tokens, kWidth});
  }
  add("model.norm", "RMSNorm", {tokens, kWidth});
  add("lm_head", "Linear", {tokens, kVocab});
  run.logits = run.taps.back();
  return run;
}

inline void for_each_tensor(FakeRun& run, const std::function<void(FakeTensor&)>& body) {
  for (FakeTensor& t : run.taps) body(t);
  if (run.logits) body(*run.logits);
}

/// Every value off by a random share of its own size.
inline FakeRun noisy(FakeRun run, float relative, size_t seed) {
  for_each_tensor(run, [&](FakeTensor& t) {
    const auto noise = random_values(t.values.size(), ++seed);
    for (size_t i = 0; i < noise.size(); ++i) t.values[i] *= 1 + relative * noise[i];
  });
  return run;
}

inline FakeRun as_bfloat16(FakeRun run, float noise, size_t seed) {
  run = noisy(std::move(run), noise, seed);
  run.info.dtype = "bfloat16";
  for_each_tensor(run, [](FakeTensor& t) {
    for (float& x : t.values) x = bfloat16_to_float(float_to_bfloat16(x));
  });
  return run;
}

/// A sound port's float32 run.
inline FakeRun port_run(const std::vector<int64_t>& ids, int prompt = 0,
                        Phase phase = Phase::kPrefill, int step = 0) {
  FakeRun run = noisy(truth_run(ids, prompt, phase, step), 2e-7f, 99);
  run.info.attention = "lockstep";
  return run;
}

class TempFolder {
 public:
  TempFolder() {
    path_ = std::filesystem::temp_directory_path() /
            ("lockstep-parity-" + std::to_string(::getpid()) + "-" + std::to_string(++count()));
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  static int& count() {
    static int n = 0;
    return n;
  }
  std::filesystem::path path_;
};

inline std::filesystem::path write_dump(const std::filesystem::path& folder,
                                        const std::vector<FakeRun>& runs,
                                        const std::vector<GreedyInfo>& greedy = {},
                                        int config_layers = kLayers,
                                        const std::string& more_config = "") {
  DumpInfo info;
  info.producer = {{"name", "made up"}, {"version", "1"}};
  info.model = "made-up";
  info.config_json = "{\"num_hidden_layers\": " + std::to_string(config_layers) + more_config + "}";
  DumpWriter writer(folder, info);
  std::vector<std::pair<DumpWriter::Handle, const FakeTensor*>> tensors;
  int number = 0;
  for (const FakeRun& run : runs) {
    RunInfo own = run.info;
    if (own.id.empty()) {
      own.id = own.dtype + "-" + own.attention + "-p" + std::to_string(own.prompt) + "-" +
               std::string(phase_name(own.phase)) + std::to_string(number++);
    }
    const int handle = writer.add_run(own);
    for (const FakeTensor& t : run.taps) {
      tensors.emplace_back(writer.add_tap(handle, t.info, t.stored, t.shape), &t);
    }
    if (run.logits) {
      tensors.emplace_back(writer.add_logits(handle, run.logits->stored, run.logits->shape),
                           &*run.logits);
    }
  }
  for (const GreedyInfo& g : greedy) writer.add_greedy(g);
  writer.begin();
  for (const auto& [handle, t] : tensors) {
    if (t->stored == DType::kBFloat16) {
      std::vector<uint16_t> narrow;
      for (const float x : t->values) narrow.push_back(float_to_bfloat16(x));
      writer.write_rows(handle, 0, make_view(narrow.data(), t->stored, t->shape));
    } else {
      writer.write_rows(handle, 0, make_view(t->values.data(), t->stored, t->shape));
    }
  }
  writer.commit();
  return folder;
}

/// A run of a recording that a test may change and write again.
inline FakeRun copy_of(const Run& run) {
  FakeRun out;
  out.info = run.info;
  out.info.id.clear();
  const auto copy = [](const Tap& tap) {
    FakeTensor t;
    t.info = tap.info;
    t.shape.assign(tap.view.shape.begin(), tap.view.shape.begin() + tap.view.rank);
    const Tensor values = convert(tap.view, DType::kFloat32, t.shape);
    const auto* first = values.view().as<float>();
    t.values.assign(first, first + tap.view.elements());
    if (tap.view.dtype == DType::kBFloat16) t.stored = DType::kBFloat16;
    return t;
  };
  for (const Tap& tap : run.taps) out.taps.push_back(copy(tap));
  if (run.logits) out.logits = copy(*run.logits);
  return out;
}

/// A report with the recordings it points into.
struct Compared {
  Recording reference, port;
  DiffReport report;

  bool refused(std::string_view code) const { return report.refused(code); }
  std::string findings() const {
    std::string out(outcome_name(report.outcome));
    for (const DiffFinding& f : report.findings) {
      out.append("\n").append(level_name(f.level)).append(" ").append(f.code);
      out.append(" ").append(f.tap).append(": ").append(f.message);
    }
    return out;
  }
  const DiffFinding* find(std::string_view code) const {
    for (const DiffFinding& f : report.findings) {
      if (f.code == code) return &f;
    }
    return nullptr;
  }
};

inline Compared compare_dumps(const std::filesystem::path& reference,
                              const std::filesystem::path& port, const DiffOptions& options = {}) {
  static ThreadPool pool(2);
  Compared out{read_recording(reference), read_recording(port), {}};
  out.report = diff(out.reference, {}, out.port, options, pool);
  return out;
}

}  // namespace lockstep::parity::testing
