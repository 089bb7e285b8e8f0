#include "parity/served_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "parity/anatomy.h"
#include "tensor/dtype.h"

namespace lockstep::parity {
namespace {

LayerFigures figures_of(const Tap& tap) {
  const View& view = tap.view;
  LayerFigures figures{tap.info.path};
  const int64_t row = (view.shape[0] - 1) * view.stride[0];
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < view.shape[1]; ++i) {
    const double x = load_element(view.data, view.dtype, row + i * view.stride[1]);
    sum += x;
    squares += x * x;
    figures.max_abs = std::max(figures.max_abs, std::abs(x));
  }
  figures.mean = sum / static_cast<double>(view.shape[1]);
  figures.rms = std::sqrt(squares / static_cast<double>(view.shape[1]));
  return figures;
}

}  // namespace

std::vector<LayerFigures> layer_figures(const Recording& recording, const std::string& id) {
  std::vector<LayerFigures> layers;
  for (const Run& run : recording.runs) {
    if (run.info.id != id) continue;
    for (const Tap& tap : run.taps) {
      const Landmark landmark = dissect(tap.info.path).landmark;
      const bool is_shown = landmark == Landmark::kEmbedding || landmark == Landmark::kLayer ||
                            landmark == Landmark::kFinalNorm;
      if (!is_shown || tap.info.role != TapRole::kOutput || tap.info.index != 0) continue;
      if (tap.view.rank != 2 || tap.view.elements() == 0) continue;
      layers.push_back(figures_of(tap));
    }
  }
  return layers;
}

std::string layers_text(const std::vector<LayerFigures>& layers) {
  if (layers.empty()) return "";
  std::string text = "the reference's layers, at the last token:\n";
  text += fmt::format("  {:<40} {:>12} {:>12} {:>12}\n", "module", "mean", "rms", "max |x|");
  for (const LayerFigures& layer : layers) {
    text += fmt::format("  {:<40} {:>12.5g} {:>12.5g} {:>12.5g}\n", layer.path, layer.mean,
                        layer.rms, layer.max_abs);
  }
  return text;
}

}  // namespace lockstep::parity
