#include "runtime/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "lockstep/error.h"

namespace lockstep {
namespace {

bool same_bytes(const View& a, const View& b) {
  return a.dtype == b.dtype && a.bytes() == b.bytes() &&
         std::memcmp(a.data, b.data, a.bytes()) == 0;
}

}  // namespace

Weights::Weights(const Graph& graph, const Audit& audit, const Checkpoint& checkpoint) {
  for (const Parameter& parameter : graph.parameters) {
    std::string stored = parameter.stored;
    const auto tie = std::ranges::find(audit.ties, parameter.path, &Audit::Tie::path);
    if (tie != audit.ties.end() && tie->stored_twice) {
      const View own = checkpoint.view(*checkpoint.find(parameter.stored));
      const View shared = checkpoint.view(*checkpoint.find(tie->stored));
      if (same_bytes(own, shared)) {
        stored = tie->stored;
      } else {
        notices_.push_back(fmt::format(
            "{} and {} are tied by config.json but stored with different values: each keeps its "
            "own, as transformers does",
            parameter.path, tie->source));
      }
    }
    const TensorEntry* entry = checkpoint.find(stored);
    if (entry == nullptr) {
      throw Error(ErrorCode::kNotFound, fmt::format("{}: no tensor bound", parameter.path));
    }
    View view = checkpoint.view(*entry);
    if (reinterpret_cast<uintptr_t>(view.data) % dtype_size(view.dtype) != 0) {
      // Tensor::copy_of would read through a misaligned pointer.
      Tensor copy(view.dtype, entry->shape);
      std::memcpy(copy.view().data, view.data, view.bytes());
      view = copy.view();
      copies_.push_back(std::move(copy));
    }
    bytes_ += view.bytes();
    views_.push_back(view);
  }
}

}  // namespace lockstep
