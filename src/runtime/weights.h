// Weights of a graph: views into the mapped checkpoint, bound by path.
#pragma once

#include <string>
#include <vector>

#include "graph/trace.h"
#include "hub/checkpoint.h"
#include "tensor/tensor.h"

namespace lockstep {

class Weights {
 public:
  /// Binds every parameter of `graph`. `checkpoint` must outlive this. Tensors lie where the file
  /// has them; only one whose address is no multiple of its element size, that is made of several
  /// or transposed parts, or of which a rank holds other ranges than a run of rows, is copied. A
  /// tied weight that is stored twice is shared when both are equal; else each keeps its own, as
  /// the reference does, and a notice says so.
  Weights(const Graph& graph, const Audit& audit, const Checkpoint& checkpoint);

  /// Parallel to graph.parameters.
  const std::vector<View>& views() const { return views_; }
  const std::vector<std::string>& notices() const { return notices_; }
  /// Bytes one step reads: every parameter once, embeddings looked up by row left out.
  uint64_t bytes() const { return bytes_; }

 private:
  /// The whole weight as the checkpoint has it.
  View stored_view(const Parameter& parameter, const TensorType& type,
                   const Checkpoint& checkpoint);
  /// The whole weight, shared with what it is tied to, aligned.
  View bind(const Parameter& parameter, const TensorType& type, const Audit& audit,
            const Checkpoint& checkpoint);

  std::vector<View> views_;
  std::vector<Tensor> copies_;
  std::vector<std::string> notices_;
  uint64_t bytes_ = 0;
};

}  // namespace lockstep
