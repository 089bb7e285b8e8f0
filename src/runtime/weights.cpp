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

std::vector<int64_t> whole_shape(const Parameter& parameter, const TensorType& type) {
  std::vector<int64_t> shape;
  for (const Dim& dim : type.shape.dims()) shape.push_back(dim.count);
  if (parameter.held_dim >= 0) {
    shape[static_cast<size_t>(parameter.held_dim)] = parameter.whole_size;
  }
  return shape;
}

Tensor compose(const Parameter& parameter, const TensorType& type, const Checkpoint& checkpoint) {
  Tensor tensor(type.dtype, whole_shape(parameter, type));
  auto* to = tensor.data<std::byte>();
  for (const StoredPart& part : parameter.parts) to = append_part(part, checkpoint, to);
  return tensor;
}

// A rank's ranges of `whole`: one run of rows lies there as it is wanted.
View held_part(const Parameter& parameter, const View& whole, std::vector<Tensor>& copies) {
  const auto dim = static_cast<size_t>(parameter.held_dim);
  View part = whole;
  int64_t n_held = 0, outer = 1;
  for (const Range& range : parameter.held) n_held += range.size();
  for (size_t d = 0; d < dim; ++d) outer *= whole.shape[d];
  const size_t inner_bytes = static_cast<size_t>(whole.stride[dim]) * dtype_size(whole.dtype);
  part.shape[dim] = n_held;
  const auto* from = whole.as<std::byte>();
  if (dim == 0 && parameter.held.size() == 1) {
    part.data = const_cast<std::byte*>(from) +
                static_cast<size_t>(parameter.held.front().begin) * inner_bytes;
    return part;
  }
  Tensor copy(whole.dtype, {part.shape.data(), static_cast<size_t>(part.rank)});
  auto* to = copy.data<std::byte>();
  for (int64_t o = 0; o < outer; ++o, from += static_cast<size_t>(whole.shape[dim]) * inner_bytes) {
    for (const Range& range : parameter.held) {
      const size_t bytes = static_cast<size_t>(range.size()) * inner_bytes;
      std::memcpy(to, from + static_cast<size_t>(range.begin) * inner_bytes, bytes);
      to += bytes;
    }
  }
  copies.push_back(std::move(copy));
  return copies.back().view();
}

// The rows [begin, end) of a stored tensor, where they lie.
View rows_of(const Checkpoint& checkpoint, const std::string& stored, int64_t begin, int64_t end) {
  View view = checkpoint.view(*checkpoint.find(stored));
  const size_t row_bytes = view.bytes() / static_cast<size_t>(view.shape[0]);
  view.data = view.as<std::byte>() + static_cast<size_t>(begin) * row_bytes;
  view.shape[0] = end - begin;
  return view;
}

}  // namespace

View Weights::stored_view(const Parameter& parameter, const TensorType& type,
                          const Checkpoint& checkpoint) {
  if (parameter.parts.empty()) {
    const TensorEntry* entry = checkpoint.find(parameter.stored);
    if (entry == nullptr) {
      throw Error(ErrorCode::kNotFound, fmt::format("{}: no tensor bound", parameter.path));
    }
    return checkpoint.view(*entry);
  }
  const StoredPart& part = parameter.parts.front();
  if (parameter.parts.size() == 1 && !part.transpose) {
    const View rows = rows_of(checkpoint, part.stored, part.begin, part.end);
    return make_view(rows.data, rows.dtype, whole_shape(parameter, type));
  }
  copies_.push_back(compose(parameter, type, checkpoint));
  return copies_.back().view();
}

View Weights::bind(const Parameter& parameter, const TensorType& type, const Audit& audit,
                   const Checkpoint& checkpoint) {
  View view = stored_view(parameter, type, checkpoint);
  const auto tie = std::ranges::find(audit.ties, parameter.path, &Audit::Tie::path);
  if (tie != audit.ties.end() && tie->stored_twice) {
    const View shared = rows_of(checkpoint, tie->stored, 0, view.shape[0]);
    if (same_bytes(view, shared)) {
      view = shared;
    } else {
      notices_.push_back(fmt::format(
          "{} and {} are tied by config.json but stored with different values: each keeps its "
          "own, as transformers does",
          parameter.path, tie->source));
    }
  }
  if (reinterpret_cast<uintptr_t>(view.data) % dtype_size(view.dtype) != 0) {
    // Tensor::copy_of would read through a misaligned pointer.
    Tensor copy(view.dtype, {view.shape.data(), static_cast<size_t>(view.rank)});
    std::memcpy(copy.view().data, view.data, view.bytes());
    view = copy.view();
    copies_.push_back(std::move(copy));
  }
  return view;
}

Weights::Weights(const Graph& graph, const Audit& audit, const Checkpoint& checkpoint) {
  for (const Parameter& parameter : graph.parameters) {
    View view = bind(parameter, graph.nodes[parameter.node].outputs[0], audit, checkpoint);
    if (parameter.held_dim >= 0) view = held_part(parameter, view, copies_);
    bytes_ += view.bytes();
    views_.push_back(view);
  }
}

}  // namespace lockstep
