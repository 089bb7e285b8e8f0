// Whole models: the dry build of a large one, a small one from process start to its first token,
// and one token of a 1.1B-parameter shape against the machine's read bandwidth.
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "runtime/pipeline.h"

namespace lockstep::bench {
namespace {
namespace fs = std::filesystem;

struct LlamaShape {
  int64_t vocab, hidden, intermediate, layers, heads, kv_heads, head_dim;
};
constexpr LlamaShape kLlama70B{128256, 8192, 28672, 80, 64, 8, 128};
constexpr LlamaShape kLlama1B{32000, 2048, 5632, 22, 32, 4, 64};

std::string config_json(const LlamaShape& s) {
  return fmt::format(R"({{"architectures": ["LlamaForCausalLM"], "vocab_size": {},
      "hidden_size": {}, "intermediate_size": {}, "num_hidden_layers": {},
      "num_attention_heads": {}, "num_key_value_heads": {}, "head_dim": {},
      "rope_parameters": {{"rope_theta": 500000.0, "rope_type": "default"}},
      "dtype": "bfloat16"}})",
                     s.vocab, s.hidden, s.intermediate, s.layers, s.heads, s.kv_heads, s.head_dim);
}

std::vector<TensorEntry> headers(const LlamaShape& s) {
  std::vector<TensorEntry> entries;
  uint64_t offset = 0;
  auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    const auto bytes = static_cast<uint64_t>(checked_product(shape)) * 2;
    entries.push_back({name, DType::kBFloat16, std::move(shape), offset, offset + bytes});
    offset += bytes;
  };
  add("model.embed_tokens.weight", {s.vocab, s.hidden});
  for (int64_t i = 0; i < s.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    add(layer + "self_attn.q_proj.weight", {s.heads * s.head_dim, s.hidden});
    add(layer + "self_attn.k_proj.weight", {s.kv_heads * s.head_dim, s.hidden});
    add(layer + "self_attn.v_proj.weight", {s.kv_heads * s.head_dim, s.hidden});
    add(layer + "self_attn.o_proj.weight", {s.hidden, s.heads * s.head_dim});
    add(layer + "mlp.gate_proj.weight", {s.intermediate, s.hidden});
    add(layer + "mlp.up_proj.weight", {s.intermediate, s.hidden});
    add(layer + "mlp.down_proj.weight", {s.hidden, s.intermediate});
    add(layer + "input_layernorm.weight", {s.hidden});
    add(layer + "post_attention_layernorm.weight", {s.hidden});
  }
  add("model.norm.weight", {s.hidden});
  add("lm_head.weight", {s.vocab, s.hidden});
  return entries;
}

void dry_build(benchmark::State& state) {
  const std::string json = config_json(kLlama70B);
  const Checkpoint checkpoint = Checkpoint::from_headers(headers(kLlama70B));
  const LlamaShape& s = kLlama70B;
  for (auto _ : state) {
    const ConfigFile config = ConfigFile::parse(json, "config.json");
    const Trace trace =
        lockstep::trace(Registry().resolve(config), config, checkpoint, DType::kBFloat16);
    require(trace.audit, trace.graph.architecture);
    if (trace.graph.parameters.size() != static_cast<size_t>(9 * s.layers + 3)) {
      state.SkipWithError("the graph lacks weights");
    }
  }
}
BENCHMARK(dry_build)->Name("dry_build/llama_70b")->Unit(benchmark::kMillisecond)->Apply(spread);

void first_token(benchmark::State& state) {
  const std::string command =
      "'" LOCKSTEP_BINARY "' generate '" LOCKSTEP_SOURCE_DIR
      "/examples/storyteller' --prompt-ids 591,283,298,682,273 --max-tokens 1 "
      ">/dev/null 2>&1";
  for (auto _ : state) {
    if (std::system(command.c_str()) != 0) state.SkipWithError("lockstep generate failed");
  }
}
BENCHMARK(first_token)
    ->Name("start_to_first_token/storyteller")
    ->Unit(benchmark::kMillisecond)
    ->Apply(spread);

// A folder with random bfloat16 weights of `shape`, removed at the end of the program.
class RandomModel {
 public:
  explicit RandomModel(const LlamaShape& shape) {
    std::string pattern = (fs::temp_directory_path() / "lockstep-bench-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    std::ofstream(folder_ / "config.json") << config_json(shape);
    const std::vector<TensorEntry> entries = headers(shape);
    SafetensorsWriter writer(folder_ / "model.safetensors");
    for (const TensorEntry& entry : entries) writer.declare(entry.name, entry.dtype, entry.shape);
    writer.begin();
    std::vector<uint16_t> block(size_t{1} << 20);
    std::minstd_rand random(1);
    std::uniform_real_distribution<float> uniform(-0.03f, 0.03f);
    for (uint16_t& x : block) x = float_to_bfloat16(uniform(random));
    const auto bytes = std::as_bytes(std::span(block));
    for (const TensorEntry& entry : entries) {
      const uint64_t size = entry.end - entry.begin;
      for (uint64_t at = 0; at < size; at += bytes.size()) {
        writer.write(entry.name, at, bytes.first(std::min<uint64_t>(bytes.size(), size - at)));
      }
    }
    writer.commit();
  }
  ~RandomModel() { fs::remove_all(folder_); }
  std::string folder() const { return folder_.string(); }

 private:
  fs::path folder_;
};

void one_token(benchmark::State& state) {
  static const RandomModel model(kLlama1B);
  PipelineOptions options;
  options.max_tokens = 512;
  options.max_logit_rows = 1;
  options.max_context = 4096;
  Pipeline pipeline(Model::open(model.folder(), Registry()), options);
  Sequence sequence;
  const std::vector<int32_t> prompt(static_cast<size_t>(state.range(0)), 7);
  int32_t token = argmax(pipeline.prefill(sequence, prompt), 0);
  const Segment segment{&sequence, {&token, 1}, LogitRows::kLast};
  // Every weight once, but for the embedding, of which one row is read.
  const double bytes = static_cast<double>(pipeline.weights().bytes()) -
                       2.0 * static_cast<double>(kLlama1B.vocab * kLlama1B.hidden);
  {
    const RateReport report(state, bytes, 0.0);
    for (auto _ : state) {
      token = argmax(pipeline.step({&segment, 1}), 0);
      if (sequence.length > options.max_context - 2) {
        state.PauseTiming();
        pipeline.release(sequence);
        pipeline.prefill(sequence, prompt);
        state.ResumeTiming();
      }
    }
  }
  state.counters["tokens/s"] = benchmark::Counter(1, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(one_token)
    ->Name("one_token/llama_1.1b_bfloat16/context")
    ->Arg(16)
    ->Unit(benchmark::kMillisecond)
    ->MinTime(2)
    ->Apply(spread);

void prefill(benchmark::State& state) {
  static const RandomModel model(kLlama1B);
  PipelineOptions options;
  options.max_tokens = state.range(0);
  options.max_logit_rows = 1;
  options.max_context = 2048;
  Pipeline pipeline(Model::open(model.folder(), Registry()), options);
  const std::vector<int32_t> prompt(static_cast<size_t>(state.range(0)), 7);
  const double n_weights = (static_cast<double>(pipeline.weights().bytes()) / 2 -
                            2.0 * static_cast<double>(kLlama1B.vocab * kLlama1B.hidden));
  {
    const RateReport report(state, 0.0, 2 * n_weights * static_cast<double>(prompt.size()));
    for (auto _ : state) {
      Sequence sequence;
      pipeline.prefill(sequence, prompt);
      pipeline.release(sequence);
    }
  }
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(prompt.size()),
                                                  benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(prefill)
    ->Name("prefill/llama_1.1b_bfloat16/tokens")
    ->Arg(512)
    ->Unit(benchmark::kMillisecond)
    ->Apply(spread);

}  // namespace
}  // namespace lockstep::bench
