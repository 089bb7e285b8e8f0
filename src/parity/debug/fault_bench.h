// One fault on the bench: its piece of the graph alone, and what can be measured of it without
// knowing the cause.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "parity/explain/explain.h"
#include "parity/run_replay.h"

namespace lockstep::parity {

/// A weight beside those of the same name in other layers.
struct WeightFacts {
  std::string path;
  double mean = 0, deviation = 0, largest = 0;
  int64_t zeros = 0, not_finite = 0, elements = 0;  // looked at: large ones are sampled
  double usual_deviation = 0, usual_largest = 0;    // median of the other layers; 0: there are none
};

/// What the piece gives with one choice of kernels.
struct KernelFacts {
  std::string kernels;           // "rope/cpu.simd, attention/ref"
  double from_reference = 0;     // relative L2
  double from_port = 0;          // from what the port's usual kernels give
};

class FaultBench {
 public:
  /// All arguments outlive this. Throws kNotFound when no port replays the fault's run.
  FaultBench(const std::vector<IsolatedPort>& ports, const Recording& reference,
             const Fault& fault);

  /// Those that the piece reads, else those of the module that the value is named after.
  std::vector<WeightFacts> weights() const;
  /// The usual kernels, then the plain loops that every op has.
  std::vector<KernelFacts> kernels();
  /// Ops of the piece, one a line: name, attributes, what goes in and out.
  std::vector<std::string> chain() const;
  /// The reference's recorded inputs of the piece.
  std::vector<std::string> inputs() const;
  /// Values next to each other where the difference is largest, a line each.
  std::vector<std::string> samples();
  /// Inputs, weights, what is expected and what was found, as .npy files in `folder`, which is
  /// made; large weights are left out. Returns file and content, a line each.
  std::vector<std::string> write_tensors(const std::filesystem::path& folder);

 private:
  std::string name_of(const Node& node) const;
  Tensor run_piece();
  const Tensor& found();

  Pipeline* pipeline_ = nullptr;
  const Recording& reference_;
  const Fault& fault_;
  std::set<std::string> misfits_;
  std::unique_ptr<RunReplay> replay_;
  ValueId target_{};
  Graph piece_;
  std::optional<Tensor> found_;
};

}  // namespace lockstep::parity
