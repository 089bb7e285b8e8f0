// The size of what the reference's layers wrote, for a look at a server that differs: its own
// layers are not seen, but a dump of the port can be held against these figures.
#pragma once

#include <string>
#include <vector>

#include "parity/recording.h"

namespace lockstep::parity {

/// Of the last recorded token of a module's output.
struct LayerFigures {
  std::string path;
  double mean = 0, rms = 0, max_abs = 0;
};

/// Embedding, layers and final norm of the run `id`, in the recording's order; empty where it has
/// none of them.
std::vector<LayerFigures> layer_figures(const Recording& recording, const std::string& id);
/// A table; empty for no figures.
std::string layers_text(const std::vector<LayerFigures>& layers);

}  // namespace lockstep::parity
