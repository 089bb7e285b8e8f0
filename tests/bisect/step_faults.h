// Faults that a prefill cannot show, planted in the graph of a sound port: an operator is wrapped,
// and does something else where a step goes on, where a sequence is shared, where one comes back.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "tensor/tensor.h"

namespace lockstep::test {

/// What a wrapped operator does: `run` is the operator itself.
using OpFault = std::function<void(const OpCall& call, const std::function<void(const OpCall&)>& run)>;

namespace internal {
struct WrappedOp {
  const OpDef* op;
  OpFault fault;
  size_t n_inputs;
};
inline std::deque<WrappedOp>& wrapped_ops() {
  static std::deque<WrappedOp> ops;
  return ops;
}
inline void run_wrapped(const OpCall& call) {
  const WrappedOp& wrapped =
      wrapped_ops()[static_cast<size_t>(call.attrs.get_int("fault"))];
  wrapped.fault(call, [&](const OpCall& with) {
    wrapped.op->run({with.inputs.first(wrapped.n_inputs), with.outputs, with.attrs, with.context});
  });
}
}  // namespace internal

/// Wraps the node `n`; `more` are values that the fault sees behind the operator's own inputs.
inline void wrap(Graph& graph, size_t n, OpFault fault, const std::vector<ValueId>& more = {}) {
  static std::deque<OpDef> definitions;
  Node& node = graph.nodes[n];
  internal::wrapped_ops().push_back({node.op, std::move(fault), node.inputs.size()});
  OpDef& definition = definitions.emplace_back(*node.op);
  definition.run = internal::run_wrapped;
  node.op = &definition;
  node.attrs.set("fault", static_cast<int64_t>(internal::wrapped_ops().size() - 1));
  node.inputs.insert(node.inputs.end(), more.begin(), more.end());
}

/// Nodes of operator `op` inside calls whose path ends with `module`.
inline std::vector<size_t> nodes_of(const Graph& graph, const std::string& op,
                                    const std::string& module = "") {
  std::vector<size_t> found;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (node.op == nullptr || node.op->name != op) continue;
    const std::string path = node.call == kNoCall ? "" : graph.calls[node.call].path;
    if (path.ends_with(module)) found.push_back(n);
  }
  return found;
}

/// Element `i` of a float32 or bfloat16 tensor.
inline void store_element(void* data, DType dtype, int64_t i, double value) {
  if (dtype == DType::kFloat32) {
    static_cast<float*>(data)[i] = static_cast<float>(value);
  } else {
    static_cast<uint16_t*>(data)[i] = float_to_bfloat16(static_cast<float>(value));
  }
}

inline int32_t* ints(const View& view) { return static_cast<int32_t*>(view.data); }

/// `call` with input `i` replaced by a copy that `change` may write to.
inline void with_copy(const OpCall& call, size_t i, const std::function<void(const OpCall&)>& run,
                      const std::function<void(int32_t*, int64_t)>& change) {
  Tensor copy = Tensor::copy_of(call.inputs[i]);
  change(ints(copy.view()), copy.view().elements());
  std::vector<View> inputs(call.inputs.begin(), call.inputs.end());
  inputs[i] = copy.view();
  run({inputs, call.outputs, call.attrs, call.context});
}

/// Rows of a step, sequence by sequence.
struct StepRows {
  int32_t first, n, begin;  // rows, and the position of the first
};
inline std::vector<StepRows> rows_of(const View& positions, const View& offsets) {
  std::vector<StepRows> all;
  for (int64_t s = 0; s + 1 < offsets.elements(); ++s) {
    const int32_t first = ints(offsets)[s], n = ints(offsets)[s + 1] - first;
    all.push_back({first, n, ints(positions)[first]});
  }
  return all;
}

/// Positions of single new tokens behind a cache, off by `delta` where tables or learned rows are
/// made from them.
inline void plant_decode_positions(Graph& graph, int32_t delta) {
  const ValueId offsets = *graph.find_input("@row_offsets");
  const ValueId positions = *graph.find_input("@positions");
  for (const char* op : {"rotary_embedding", "embedding"}) {
    for (const size_t n : nodes_of(graph, op)) {
      if (graph.nodes[n].inputs[0] != positions) continue;
      wrap(graph, n,
           [delta](const OpCall& call, const auto& run) {
             with_copy(call, 0, run, [&](int32_t* values, int64_t) {
               for (const StepRows& rows : rows_of(call.inputs[0], call.inputs.back())) {
                 if (rows.n == 1 && rows.begin > 0) values[rows.first] += delta;
               }
             });
           },
           {offsets});
    }
  }
}

/// The position of single new tokens stays that of the first one after the prompt.
inline void plant_stuck_position(Graph& graph) {
  const ValueId offsets = *graph.find_input("@row_offsets");
  for (const size_t n : nodes_of(graph, "rotary_embedding")) {
    auto last_prompt = std::make_shared<int32_t>(0);
    wrap(graph, n,
         [last_prompt](const OpCall& call, const auto& run) {
           with_copy(call, 0, run, [&](int32_t* values, int64_t) {
             for (const StepRows& rows : rows_of(call.inputs[0], call.inputs.back())) {
               if (rows.n > 1) *last_prompt = rows.begin + rows.n;
               if (rows.n == 1 && rows.begin > 0) values[rows.first] = *last_prompt;
             }
           });
         },
         {offsets});
  }
}

/// The rotation of one layer turns single new tokens by the tables of the step before.
inline void plant_stale_tables(Graph& graph, const std::string& module) {
  for (const size_t n : nodes_of(graph, "rope", module)) {
    auto tables = std::make_shared<std::vector<Tensor>>();
    wrap(graph, n, [tables](const OpCall& call, const auto& run) {
      std::vector<View> inputs(call.inputs.begin(), call.inputs.end());
      std::vector<Tensor> now;
      for (size_t i = 1; i < 3; ++i) {
        const View& table = call.inputs[i];
        const int64_t width = table.dim(1);
        Tensor& last = now.emplace_back(DType::kFloat32, std::initializer_list<int64_t>{1, width});
        std::memcpy(last.view().data, table.as<float>() + (table.dim(0) - 1) * width,
                    static_cast<size_t>(width) * sizeof(float));
        if (table.dim(0) == 1 && !tables->empty()) inputs[i] = (*tables)[i - 1].view();
      }
      run({inputs, call.outputs, call.attrs, call.context});
      *tables = std::move(now);
    });
  }
}

// Of the attention operator's inputs.
enum AttentionInput : size_t { kKey = 1, kPositions = 3, kRows, kPageOffsets, kPages, kKeyCache };

/// Where a position's key of head `g` lies in the cache, in elements.
inline int64_t key_at(const OpCall& call, size_t sequence, int64_t position, int64_t g) {
  const View& cache = call.inputs[kKeyCache];
  const int64_t page_size = cache.dim(2);
  const int64_t page =
      ints(call.inputs[kPages])[ints(call.inputs[kPageOffsets])[sequence] + position / page_size];
  return ((page * cache.dim(1) + g) * page_size + position % page_size) * cache.dim(3);
}

inline void copy_key(const OpCall& call, int64_t to, const void* from) {
  const View& cache = call.inputs[kKeyCache];
  const size_t size = dtype_size(cache.dtype);
  std::memcpy(static_cast<char*>(cache.data) + static_cast<size_t>(to) * size, from,
              static_cast<size_t>(cache.dim(3)) * size);
}

/// From the third new token on each key is also written where the one three before it is.
inline void plant_overwritten_row(Graph& graph, const std::string& module) {
  for (const size_t n : nodes_of(graph, "attention", module)) {
    auto n_single = std::make_shared<int>(0);
    wrap(graph, n, [n_single](const OpCall& call, const auto& run) {
      run(call);
      const auto rows = rows_of(call.inputs[kPositions], call.inputs[kRows]);
      const View& key = call.inputs[kKey];
      for (size_t s = 0; s < rows.size(); ++s) {
        if (rows[s].n > 1) *n_single = 0;
        if (rows[s].n > 1 || rows[s].begin < 3 || ++*n_single < 3) continue;
        for (int64_t g = 0; g < key.dim(1); ++g) {
          copy_key(call, key_at(call, s, rows[s].begin - 3, g),
                   static_cast<char*>(key.data) +
                       static_cast<size_t>((rows[s].first * key.dim(1) + g) * key.dim(2)) *
                           dtype_size(key.dtype));
        }
      }
    });
  }
}

/// What stays in the cache is the key before its rotation.
inline void plant_unrotated_cache(Graph& graph, const std::string& module) {
  for (const size_t n : nodes_of(graph, "attention", module)) {
    const ValueId plain = graph.node(graph.nodes[n].inputs[kKey]).inputs[0];
    wrap(graph, n,
         [](const OpCall& call, const auto& run) {
           run(call);
           const auto rows = rows_of(call.inputs[kPositions], call.inputs[kRows]);
           const View& key = call.inputs.back();
           for (size_t s = 0; s < rows.size(); ++s) {
             for (int32_t r = 0; r < rows[s].n; ++r) {
               for (int64_t g = 0; g < key.dim(1); ++g) {
                 copy_key(call, key_at(call, s, rows[s].begin + r, g),
                          static_cast<char*>(key.data) +
                              static_cast<size_t>(((rows[s].first + r) * key.dim(1) + g) *
                                                  key.dim(2)) *
                                  dtype_size(key.dtype));
               }
             }
           }
         },
         {plain});
  }
}

/// The last input of `op` is its state: after a step of several tokens it is scaled.
inline void plant_scaled_state(Graph& graph, const std::string& op, const std::string& module,
                               size_t state_input, double factor) {
  for (const size_t n : nodes_of(graph, op, module)) {
    wrap(graph, n, [state_input, factor](const OpCall& call, const auto& run) {
      run(call);
      if (call.inputs[0].dim(0) < 2) return;
      const View& state = call.inputs[state_input];
      for (int64_t i = 0; i < state.elements(); ++i) {
        store_element(state.data, state.dtype, i,
                      factor * load_element(state.data, state.dtype, i));
      }
    });
  }
}

/// After a step of several tokens the convolution's newest columns stand one place too early.
inline void plant_shifted_window(Graph& graph, const std::string& module) {
  for (const size_t n : nodes_of(graph, "causal_conv", module)) {
    wrap(graph, n, [](const OpCall& call, const auto& run) {
      run(call);
      if (call.inputs[0].dim(0) < 2) return;
      const View& state = call.inputs[4];
      const int64_t width = state.dim(-1);
      for (int64_t i = 0; i < state.elements(); ++i) {
        if (i % width + 1 == width) continue;
        store_element(state.data, state.dtype, i, load_element(state.data, state.dtype, i + 1));
      }
    });
  }
}

/// One row alone comes out larger than among others.
inline void plant_single_row(Graph& graph, const std::string& op, const std::string& module) {
  for (const size_t n : nodes_of(graph, op, module)) {
    wrap(graph, n, [](const OpCall& call, const auto& run) {
      run(call);
      const View& out = call.outputs[0];
      if (out.dim(0) != 1) return;
      for (int64_t i = 0; i < out.elements(); ++i) {
        store_element(out.data, out.dtype, i, 1.25 * load_element(out.data, out.dtype, i));
      }
    });
  }
}

/// Where a chunk begins behind others its first position is one too high.
inline void plant_chunk_boundary(Graph& graph) {
  const ValueId offsets = *graph.find_input("@row_offsets");
  for (const size_t n : nodes_of(graph, "rotary_embedding")) {
    wrap(graph, n,
         [](const OpCall& call, const auto& run) {
           with_copy(call, 0, run, [&](int32_t* values, int64_t) {
             for (const StepRows& rows : rows_of(call.inputs[0], call.inputs.back())) {
               if (rows.n > 1 && rows.begin > 0) ++values[rows.first];
             }
           });
         },
         {offsets});
  }
}

/// In a step of several sequences the second reads and writes the first one's first page.
inline void plant_cross_talk(Graph& graph, const std::string& module) {
  for (const size_t n : nodes_of(graph, "attention", module)) {
    wrap(graph, n, [](const OpCall& call, const auto& run) {
      with_copy(call, kPages, run, [&](int32_t* pages, int64_t) {
        const View& offsets = call.inputs[kPageOffsets];
        if (offsets.elements() > 2) pages[ints(offsets)[1]] = pages[0];
      });
    });
  }
}

/// A sequence that begins behind tokens of another's gets the last of its full pages for the first.
inline void plant_wrong_page(Graph& graph, const std::string& module) {
  for (const size_t n : nodes_of(graph, "attention", module)) {
    // First page of each sequence of the step before -> its length.
    auto known = std::make_shared<std::map<int32_t, int32_t>>();
    wrap(graph, n, [known](const OpCall& call, const auto& run) {
      std::map<int32_t, int32_t> now;
      with_copy(call, kPages, run, [&](int32_t* pages, int64_t) {
        const auto rows = rows_of(call.inputs[kPositions], call.inputs[kRows]);
        const int64_t page_size = call.inputs[kKeyCache].dim(2);
        for (size_t s = 0; s < rows.size(); ++s) {
          int32_t* own = pages + ints(call.inputs[kPageOffsets])[s];
          const int32_t first = own[0];
          const auto before = known->find(first);
          const bool goes_on = before != known->end() && before->second == rows[s].begin;
          const int64_t n_full = rows[s].begin / page_size;
          if (rows[s].begin > 0 && !goes_on && n_full >= 2) own[0] = own[n_full - 1];
          now[first] = rows[s].begin + rows[s].n;
        }
      });
      *known = std::move(now);
    });
  }
}

/// A text that comes back whole, one token longer than it had got, token by token, before it gave
/// way, has lost that token: the one before stands there twice.
inline void plant_lost_token(Graph& graph) {
  const std::vector<ValueId> more = {*graph.find_input("@positions"),
                                     *graph.find_input("@row_offsets"),
                                     *graph.find_input("@page_offsets"),
                                     *graph.find_input("@pages")};
  for (const size_t n : nodes_of(graph, "embedding")) {
    if (graph.nodes[n].inputs[0] != *graph.find_input("@input_ids")) continue;
    // First page -> the text there.
    auto texts = std::make_shared<std::map<int32_t, std::vector<int32_t>>>();
    wrap(graph, n,
         [texts](const OpCall& call, const auto& run) {
           with_copy(call, 0, run, [&](int32_t* ids, int64_t) {
             const size_t at = call.inputs.size() - 4;
             const auto rows = rows_of(call.inputs[at], call.inputs[at + 1]);
             for (size_t s = 0; s < rows.size(); ++s) {
               const std::vector<int32_t> fed(ids + rows[s].first,
                                              ids + rows[s].first + rows[s].n);
               const bool comes_back =
                   rows[s].begin == 0 && rows[s].n > 2 &&
                   std::ranges::any_of(*texts, [&](const auto& known) {
                     return known.second.size() + 1 == fed.size() &&
                            std::equal(known.second.begin(), known.second.end(), fed.begin());
                   });
               if (comes_back) {
                 int32_t* last = ids + rows[s].first + rows[s].n - 1;
                 last[0] = last[-1];
               }
               const int32_t page =
                   ints(call.inputs[at + 3])[ints(call.inputs[at + 2])[s]];
               std::vector<int32_t>& text = (*texts)[page];
               text.resize(static_cast<size_t>(rows[s].begin));
               text.insert(text.end(), fed.begin(), fed.end());
             }
           });
         },
         more);
  }
}

}  // namespace lockstep::test
