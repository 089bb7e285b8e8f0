// The keys of config.json that SmolLM3ForCausalLM reads, with the defaults of the reference's
// config class.
//
// Derived from LlamaForCausalLM (lockstep/archs/llama.h).
//
// Deltas implemented: 1, which layers rotate.
#pragma once

#include <vector>

#include "lockstep/archs/llama.h"

namespace lockstep::port_smollm3 {

using namespace lockstep::llama;

/// config.json as the donor's configuration can read it.
inline const Config& readable(const Config& c) { return c; }

struct SmolLM3Config : llama::LlamaConfig {
  std::vector<bool> use_rope;
  std::vector<int64_t> windows;

  explicit SmolLM3Config(const Config& c) : LlamaConfig(c) {
    tie_word_embeddings = c.flag("tie_word_embeddings", true);
    const std::vector<int64_t> listed = c.integers("no_rope_layers");
    const int64_t interval = c.size("no_rope_layer_interval", 4);
    for (int64_t i = 0; i < num_hidden_layers; ++i) {
      use_rope.push_back(listed.empty() ? (i + 1) % interval != 0
                                        : listed.at(static_cast<size_t>(i)) != 0);
    }
    const int64_t window = c.size("sliding_window", 0, 0);
    const bool slides = c.flag("use_sliding_window", false) && window != 0;
    windows = layer_windows(c, num_hidden_layers, window,
                            [&](int64_t i) { return slides && !use_rope[static_cast<size_t>(i)]; });
  }
};

}  // namespace lockstep::port_smollm3
