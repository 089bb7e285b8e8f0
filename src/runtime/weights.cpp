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

// Elements of `part`, row-major, appended at `to`; returns the place after them.
std::byte* append_part(const StoredPart& part, const Checkpoint& checkpoint, std::byte* to) {
  const TensorEntry& entry = *checkpoint.find(part.stored);
  const View whole = checkpoint.view(entry);
  const size_t size = dtype_size(entry.dtype);
  const int64_t n_rows = part.end - part.begin;
  const auto row_elements = static_cast<size_t>(whole.elements() / entry.shape[0]);
  const auto* from = static_cast<const std::byte*>(whole.data) + part.begin * row_elements * size;
  const size_t bytes = static_cast<size_t>(n_rows) * row_elements * size;
  if (!part.transpose) {
    std::memcpy(to, from, bytes);
    return to + bytes;
  }
  // The last two dimensions of [..., r, c] become [..., c, r].
  const auto columns = static_cast<size_t>(entry.shape.back());
  const auto rows = entry.shape.size() == 2 ? static_cast<size_t>(n_rows)
                                            : static_cast<size_t>(entry.shape.end()[-2]);
  for (size_t matrix = 0; matrix < bytes / size; matrix += rows * columns) {
    for (size_t c = 0; c < columns; ++c) {
      for (size_t r = 0; r < rows; ++r) {
        std::memcpy(to, from + (matrix + r * columns + c) * size, size);
        to += size;
      }
    }
  }
  return to;
}

Tensor compose(const Parameter& parameter, const TensorType& type, const Checkpoint& checkpoint) {
  std::vector<int64_t> shape;
  for (const Dim& dim : type.shape.dims()) shape.push_back(dim.count);
  Tensor tensor(type.dtype, shape);
  auto* to = tensor.data<std::byte>();
  for (const StoredPart& part : parameter.parts) to = append_part(part, checkpoint, to);
  return tensor;
}

}  // namespace

Weights::Weights(const Graph& graph, const Audit& audit, const Checkpoint& checkpoint) {
  for (const Parameter& parameter : graph.parameters) {
    if (!parameter.parts.empty()) {
      copies_.push_back(compose(parameter, graph.nodes[parameter.node].outputs[0], checkpoint));
      views_.push_back(copies_.back().view());
      bytes_ += views_.back().bytes();
      continue;
    }
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
