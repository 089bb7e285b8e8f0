// What one side computed, as files say: runs with taps in order of execution, mapped from disk.
// Four layouts are told apart by what lies there:
//   manifest.json                          a lockstep-dump (dump_format.h)
//   expected.json + golden.safetensors     a golden folder of one prompt with taps
//   *.npy, or one .npz                     post_embed, layer_00 ..., post_final_norm, last_logits,
//                                          prompt_tokens
//   one .safetensors                       the same names, or module paths
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parity/dump_format.h"
#include "tensor/view.h"

namespace lockstep::parity {

enum class Layout : uint8_t { kDump, kGolden, kNpy, kNpz, kSafetensors };
std::string_view layout_name(Layout layout) noexcept;

/// What a mixture's router chooses from, as the config says; zeros where it does not.
struct RouterConfig {
  int experts = 0, chosen = 0, groups = 0, groups_chosen = 0;
};

struct Tap {
  TapInfo info;
  View view;            // token-major; strided where the file is not
  bool mapped = false;  // its pages belong to a file, and may be dropped after use
};

struct Run {
  RunInfo info;
  std::vector<Tap> taps;
  std::optional<Tap> logits;  // [rows, vocab]
  /// Position of the first row of `logits` in the prompt: not 0 where only the last were kept.
  int64_t first_logit_row = 0;
};

/// The text that a prompt's ids were made of, where the recording has it.
struct PromptText {
  int prompt = 0;
  bool is_chat = false;  // a user's message, through the chat template
  std::string text;
};

/// What makes two taps of two runs the same tap: tap_key(), but for repeated calls with `args`
/// these instead of the call's number, because the order of such calls differs between sound runs.
std::string match_key(const TapInfo& tap);

/// Reads nothing but headers; tensors stay on disk until a view is read. Movable.
struct Recording {
  std::filesystem::path path;
  Layout layout = Layout::kDump;
  std::map<std::string, std::string> producer;
  std::string model, architecture;
  /// Layers the model has according to its config; 0 when that is not known.
  int n_layers = 0;
  bool has_experts = false;
  RouterConfig router;
  /// config.json as the producer resolved it, defaults included; empty where that is not known.
  std::string config_json;
  std::vector<Run> runs;
  std::vector<GreedyInfo> greedy;
  std::vector<PromptText> prompts;
  /// False where the files do not say in which order taps ran.
  bool ordered = true;
  /// What the reader left out or assumed; part of every verdict.
  std::vector<std::string> notes;
  std::shared_ptr<void> storage;  // keeps the maps of all views alive
};

/// Throws kNotFound or kInvalidArgument naming the file, expected and found, for anything that
/// is not a well-formed recording: a manifest that contradicts its tensors, a tensor that is not
/// there, a shape that does not fit. An empty recording is well-formed; the comparison refuses it.
Recording read_recording(const std::filesystem::path& path);

}  // namespace lockstep::parity
