// The `lockstep-dump` format: a folder with manifest.json and tensors.safetensors that holds what
// one side computed, run by run and tap by tap. This header owns its vocabulary and its writer;
// recording.h reads it (and other layouts) back.
//
// A run is one forward call: a prefill of a prompt, or one decode step after it. A tap is the
// input or output of one module call, or a functional value below a module ("<path>/q_rot").
// Tensors have no batch dimension and are token-major, except `/scores` and `/probs`, which are
// [heads, queries, keys].
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/view.h"

namespace lockstep::parity {

inline constexpr std::string_view kDumpFormat = "lockstep-dump";
inline constexpr int kDumpVersion = 1;
inline constexpr std::string_view kManifestFile = "manifest.json";
inline constexpr std::string_view kTensorsFile = "tensors.safetensors";

enum class Phase : uint8_t { kPrefill, kDecode };
enum class TapRole : uint8_t { kInput, kOutput };

std::string_view phase_name(Phase phase) noexcept;
std::string_view role_name(TapRole role) noexcept;

struct RunInfo {
  std::string id;         // unique in the dump, e.g. "float32-eager-p0-prefill"
  std::string dtype;      // between modules: "float32", "bfloat16", ...
  std::string attention;  // "eager", "sdpa", or what the port calls its kernels
  std::string device;     // "cpu", "cuda:0", ...
  int prompt = 0;         // ordinal of the prompt among the dump's prompts
  /// All ids up to the end of this run, so with the token that a decode step feeds.
  std::vector<int64_t> prompt_ids;
  Phase phase = Phase::kPrefill;
  int step = 0;  // 0 for prefill, k >= 1 for decode steps
};

struct TapInfo {
  std::string path;                 // "model.layers.0.self_attn.q_proj", ".../q_rot"
  std::string module_class;         // "Linear"; may be empty
  TapRole role = TapRole::kOutput;  // input or output of the call
  std::optional<std::string> name;  // the argument's name, for inputs
  int index = 0;                    // among the inputs or outputs of the call
  int call = 0;                     // how often this module was called before in the run
  /// Of repeated calls whose arguments that are no tensors tell them apart: "layer_type=full".
  std::string args;
};

/// How a tap is told and stored within its run.
std::string tap_key(const TapInfo& tap);
/// "<run id>/<path>[#call]:<role>[.<index>]": the tensor's name.
std::string tap_tensor_name(const RunInfo& run, const TapInfo& tap);
std::string logits_tensor_name(const RunInfo& run);

/// The reference's or port's own greedy continuation of a prompt.
struct GreedyInfo {
  std::string dtype, attention;
  int prompt = 0;
  std::vector<int64_t> tokens;
  std::vector<double> margins;  // gap between the two highest logits at each step
};

struct DumpInfo {
  std::map<std::string, std::string> producer;  // "name", "version", ...
  std::string model;                            // repo id or folder name
  std::string architecture;                     // "LlamaForCausalLM"
  std::string config_json = "{}";               // config.json as resolved by the producer
};

/// Writes a dump whose runs and taps are declared first and filled in parts, in any order, so
/// that nothing has to fit in memory. The folder appears on commit(), whole, or never: it is
/// written as a temporary sibling and renamed. An older dump at `folder` is replaced then; any
/// other non-empty folder there is refused at once.
class DumpWriter {
 public:
  /// A declared tensor.
  struct Handle {
    int index = -1;
  };

  /// Throws kFailedPrecondition when `folder` holds something that is not a dump,
  /// kInvalidArgument when `info.config_json` is not JSON.
  DumpWriter(const std::filesystem::path& folder, DumpInfo info);
  ~DumpWriter();
  DumpWriter(const DumpWriter&) = delete;
  DumpWriter& operator=(const DumpWriter&) = delete;

  /// Declarations, before begin(). Taps are listed in the order of declaration, which should be
  /// the order of execution. `shape` is the whole tensor's; throws kInvalidArgument for a tap
  /// declared twice, a negative dimension or a run that does not exist.
  int add_run(RunInfo run);
  Handle add_tap(int run, const TapInfo& tap, DType stored_dtype, std::span<const int64_t> shape);
  /// A tap that is the same tensor as one already declared (an input that is another's output):
  /// listed, not stored twice.
  void add_alias(int run, const TapInfo& tap, Handle same_as);
  /// The final logits [tokens, vocab], at most once a run.
  Handle add_logits(int run, DType stored_dtype, std::span<const int64_t> shape);
  /// Refers a run's logits to a declared tensor (the output of lm_head, where nothing follows).
  void alias_logits(int run, Handle same_as);
  void add_greedy(GreedyInfo greedy);

  /// Writes the headers; only writes and commit() may follow.
  void begin();

  /// Rows [first_row, first_row + rows.dim(row_dim)) along dimension `row_dim` of the declared
  /// tensor: `rows` has the declared rank, dtype and sizes, any strides, host memory. Throws
  /// kInvalidArgument or kOutOfRange naming the tensor, expected and found.
  void write_rows(Handle tensor, int64_t first_row, const View& rows, int row_dim = 0);

  /// Throws kFailedPrecondition when a declared byte was never written.
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::parity
