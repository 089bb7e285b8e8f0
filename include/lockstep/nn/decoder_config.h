// The keys that the config classes of most decoders have, and what several of them ask of the rest.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "lockstep/config.h"

namespace lockstep {

/// The defaults of a reference's config class.
struct DecoderDefaults {
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
  int64_t num_key_value_heads = 0;  ///< 0: as many as num_attention_heads
  /// What a null says there: the default, or as many as num_attention_heads.
  enum class Null { kDefault, kAllHeads } null_key_value_heads = Null::kDefault;
  int64_t head_dim = 0;  ///< 0, and what a null says: hidden_size / num_attention_heads
  bool tie_word_embeddings = false;
};

/// The keys that most config classes have.
struct DecoderConfig {
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
  int64_t num_attention_heads, num_key_value_heads, head_dim;
  bool tie_word_embeddings;

  DecoderConfig(const Config& c, const DecoderDefaults& d)
      : vocab_size(c.size("vocab_size", d.vocab_size)),
        hidden_size(c.size("hidden_size", d.hidden_size)),
        intermediate_size(c.size("intermediate_size", d.intermediate_size)),
        num_hidden_layers(c.layers("num_hidden_layers", d.num_hidden_layers)),
        num_attention_heads(c.size("num_attention_heads", d.num_attention_heads)),
        num_key_value_heads(c.size("num_key_value_heads", default_key_value_heads(c, d))),
        head_dim(c.size("head_dim", d.head_dim == 0 || c.is_null("head_dim")
                                        ? hidden_size / num_attention_heads
                                        : d.head_dim)),
        tie_word_embeddings(c.flag("tie_word_embeddings", d.tie_word_embeddings)) {}

 private:
  int64_t default_key_value_heads(const Config& c, const DecoderDefaults& d) const {
    const bool all =
        d.num_key_value_heads == 0 || (d.null_key_value_heads == DecoderDefaults::Null::kAllHeads &&
                                       c.is_null("num_key_value_heads"));
    return all ? num_attention_heads : d.num_key_value_heads;
  }
};

/// The window of each layer's attention, 0 for none, from `layer_types`; where these are absent,
/// `is_sliding(layer)` says which are local. `window` is 0 where the config has none.
template <class IsSliding>
std::vector<int64_t> layer_windows(const Config& c, int64_t n_layers, int64_t window,
                                   const IsSliding& is_sliding) {
  const std::vector<std::string> types =
      c.layer_types(n_layers, {"sliding_attention", "full_attention"});
  std::vector<int64_t> windows;
  for (int64_t i = 0; i < n_layers; ++i) {
    const bool slides =
        types.empty() ? is_sliding(i) : types[static_cast<size_t>(i)] == "sliding_attention";
    if (slides && window == 0) {
      throw Error(ErrorCode::kInvalidArgument,
                  c.where("sliding_window") +
                      ": expected the window of layers of type sliding_attention, found none");
    }
    windows.push_back(slides ? window : 0);
  }
  return windows;
}

/// As layer_windows for Qwen's config classes: layers from `max_window_layers` on are local where
/// `use_sliding_window` says that any is.
inline std::vector<int64_t> upper_layer_windows(const Config& c, int64_t n_layers) {
  const int64_t declared = c.is_null("sliding_window") ? 0 : c.size("sliding_window", 4096);
  const int64_t window = c.flag("use_sliding_window", false) ? declared : 0;
  const int64_t first = c.size("max_window_layers", 28, 0);
  return layer_windows(c, n_layers, window, [&](int64_t i) { return window != 0 && i >= first; });
}

/// Which layers have experts instead of one MLP: every `decoder_sparse_step`th, but for
/// `mlp_only_layers`.
struct SparseLayers {
  int64_t decoder_sparse_step;
  std::vector<int64_t> mlp_only_layers;

  explicit SparseLayers(const Config& c)
      : decoder_sparse_step(c.size("decoder_sparse_step", 1)),
        mlp_only_layers(c.integers("mlp_only_layers")) {}

  bool contains(int64_t layer) const {
    const bool is_listed =
        std::find(mlp_only_layers.begin(), mlp_only_layers.end(), layer) != mlp_only_layers.end();
    return !is_listed && (layer + 1) % decoder_sparse_step == 0;
  }
};

/// Refuses attention to later tokens.
inline void expect_causal(const Config& c) {
  if (!c.flag("use_bidirectional_attention", false)) return;
  throw Error(ErrorCode::kUnimplemented,
              c.where("use_bidirectional_attention") + ": expected false, found true",
              "this build has causal attention alone");
}

}  // namespace lockstep
