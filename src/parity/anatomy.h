// Where in a model a tap sits, read off its module path alone: no architecture is named.
#pragma once

#include <string>
#include <string_view>

namespace lockstep::parity {

enum class Landmark : uint8_t {
  kNone,
  kEmbedding,  // token embedding: embed_tokens, wte, ..., or post_embed
  kLayer,      // a decoder layer as a whole: model.layers.3, layer_03
  kFinalNorm,  // the norm after the last layer: model.norm, ln_f, ..., or post_final_norm
  kBackbone,   // the module that holds the layers: its output is the final norm's
  kHead,       // lm_head
};

struct Anatomy {
  Landmark landmark = Landmark::kNone;
  int layer = -1;          // of the decoder layer it is or lies in; -1 outside layers
  std::string_view inner;  // the path below that layer: "self_attn.q_proj/q_rot"; else the path
  /// A value that is the same in every layer by construction: rotary tables, masks, positions.
  bool shared = false;
  /// A router's: its integers are expert ids, counts and orders.
  bool routing = false;
  /// Inside an expert dispatch, where rows are ordered as each implementation likes.
  bool dispatch = false;
};

/// Views point into `path`.
Anatomy dissect(std::string_view path) noexcept;
/// `path` without its last component; empty at the top.
std::string_view parent_path(std::string_view path) noexcept;

/// Ranks paths roughly in order of execution, children before their parent's output: for files
/// that do not say. Compare with <.
std::string guessed_order(std::string_view path);

}  // namespace lockstep::parity
