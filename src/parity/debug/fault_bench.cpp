#include "parity/debug/fault_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "lockstep/error.h"
#include "parity/anatomy.h"
#include "parity/format.h"
#include "parity/replay_values.h"
#include "tensor/npy.h"

namespace lockstep::parity {
namespace {

constexpr int64_t kSampled = 1 << 20, kMostBytes = 32 << 20;
constexpr size_t kMostWeights = 12, kMostLayers = 6;

// The module that a tap's path names: without the functional part, role and call.
std::string module_of(std::string path) {
  path.resize(std::min(path.find_first_of("/:#"), path.size()));
  return path;
}

WeightFacts facts_of(const std::string& path, const View& view) {
  WeightFacts facts;
  facts.path = path;
  const int64_t n = view.elements(), step = std::max<int64_t>(1, n / kSampled);
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < n; i += step) {
    const double x = load_element(view.data, view.dtype, i);
    ++facts.elements;
    if (!std::isfinite(x)) {
      ++facts.not_finite;
      continue;
    }
    facts.zeros += x == 0;
    sum += x;
    squares += x * x;
    facts.largest = std::max(facts.largest, std::abs(x));
  }
  const auto count = static_cast<double>(std::max<int64_t>(1, facts.elements));
  facts.mean = sum / count;
  facts.deviation = std::sqrt(std::max(0.0, squares / count - facts.mean * facts.mean));
  return facts;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::nth_element(values, values.begin() + std::ssize(values) / 2);
  return values[values.size() / 2];
}

// Whether both are the same weight of two layers.
bool is_sibling(const std::string& a, const std::string& b) {
  const Anatomy x = dissect(a), y = dissect(b);
  return x.layer >= 0 && y.layer >= 0 && x.layer != y.layer && x.inner == y.inner;
}

std::string shape_text(const View& view) { return to_string(view); }

std::string file_name(std::string name) {
  for (char& c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_';
    if (!plain) c = '-';
  }
  // Names of strangers: as long as a file may be called.
  if (name.size() > 120) name.erase(0, name.size() - 120);
  return name + ".npy";
}

}  // namespace

FaultBench::FaultBench(const std::vector<IsolatedPort>& ports, const Recording& reference,
                       const Fault& fault)
    : reference_(reference), fault_(fault) {
  const auto run = std::ranges::find(reference_.runs, fault.run,
                                     [](const Run& candidate) { return candidate.info.id; });
  for (const IsolatedPort& port : ports) {
    if (run == reference_.runs.end()) break;
    if (dtype_name(port.pipeline->graph().activation_dtype) != run->info.dtype) continue;
    pipeline_ = port.pipeline;
    misfits_ = misfits(pipeline_->graph(), reference_);
    replay_ = std::make_unique<RunReplay>(*pipeline_, reference_, misfits_, *run);
    replay_->prepare();
    for (const RunReplay::Target& target : replay_->targets()) {
      if (target.path != fault.path) continue;
      target_ = target.value;
      piece_ = cut(pipeline_->graph(), target_, replay_->known());
      return;
    }
  }
  throw Error(ErrorCode::kNotFound, fault.run + " " + fault.path + ": is not replayed by this port");
}

std::vector<WeightFacts> FaultBench::weights() const {
  const std::vector<Parameter>& all = pipeline_->graph().parameters;
  std::vector<std::string> paths;
  for (const Parameter& parameter : piece_.parameters) paths.push_back(parameter.path);
  if (paths.empty()) {
    const std::string module = module_of(fault_.path) + ".";
    for (const Parameter& parameter : all) {
      if (parameter.path.starts_with(module)) paths.push_back(parameter.path);
    }
  }
  paths.resize(std::min(paths.size(), kMostWeights));
  std::vector<WeightFacts> found;
  for (const std::string& path : paths) {
    WeightFacts facts = facts_of(path, replay_->weight(path));
    std::vector<double> deviations, largest;
    for (const Parameter& parameter : all) {
      if (!is_sibling(parameter.path, path) || deviations.size() == kMostLayers) continue;
      const WeightFacts other = facts_of(parameter.path, replay_->weight(parameter.path));
      deviations.push_back(other.deviation);
      largest.push_back(other.largest);
    }
    facts.usual_deviation = median(deviations);
    facts.usual_largest = median(largest);
    found.push_back(std::move(facts));
  }
  return found;
}

Tensor FaultBench::run_piece() {
  const RunReplay::Caches before = replay_->caches_before(piece_);
  return replay_->execute(piece_, before, {});
}

const Tensor& FaultBench::found() {
  if (!found_) found_ = run_piece();
  return *found_;
}

std::vector<KernelFacts> FaultBench::kernels() {
  RunContext& context = pipeline_->context();
  const KernelPolicy usual = context.policy;
  std::vector<KernelFacts> facts;
  for (const bool plain : {false, true}) {
    if (plain) context.policy = KernelPolicy::parse("ref", false);
    const auto before = context.calls;
    KernelFacts fact;
    try {
      const Tensor result = run_piece();
      fact.from_reference = difference(result.view(), replay_->recorded(target_));
      fact.from_port = difference(result.view(), found().view());
    } catch (const Error& error) {
      context.policy = usual;
      fact.kernels = error.message();
      facts.push_back(std::move(fact));
      continue;
    }
    context.policy = usual;
    for (const auto& [name, n] : context.calls) {
      const auto known = before.find(name);
      if (known != before.end() && known->second == n) continue;
      fact.kernels += (fact.kernels.empty() ? "" : ", ") + name;
    }
    facts.push_back(std::move(fact));
  }
  return facts;
}

std::string FaultBench::name_of(const Node& node) const {
  if (!node.name.starts_with("value.")) return node.name;
  for (const ValueId& value : replay_->known()) {
    if (value_name(value) == node.name) return replay_->name_of(value);
  }
  return node.name;
}

std::vector<std::string> FaultBench::chain() const {
  std::vector<std::string> lines;
  for (const Node& node : piece_.nodes) {
    if (node.kind != NodeKind::kOp || node.op->run == nullptr) continue;
    std::string line = std::string(node.op->name) + "(";
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Node& from = piece_.node(node.inputs[i]);
      line += (i == 0 ? "" : ", ") +
              (from.kind == NodeKind::kOp ? std::string(from.op->name) : name_of(from)) + " " +
              to_string(piece_.type(node.inputs[i]));
    }
    line += ") -> " + to_string(node.outputs.front());
    const std::string attrs = to_string(node.attrs);
    if (!attrs.empty()) line += "; " + attrs;
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<std::string> FaultBench::inputs() const {
  std::vector<std::string> lines;
  for (const Node& node : piece_.nodes) {
    if (node.kind == NodeKind::kOp || !node.name.starts_with("value.")) continue;
    lines.push_back(name_of(node));
  }
  return lines;
}

std::vector<std::string> FaultBench::samples() {
  const View port = found().view();
  const TensorType& type = replay_->graph().type(target_);
  const Tensor expected =
      convert(replay_->recorded(target_), type.dtype, replay_->shape_of(type));
  const View reference = expected.view();
  const int64_t n = std::min(port.elements(), reference.elements());
  int64_t worst = 0;
  double most = -1;
  for (int64_t i = 0; i < n; ++i) {
    const double d = std::abs(load_element(port.data, port.dtype, i) -
                              load_element(reference.data, reference.dtype, i));
    if (!(d <= most)) {
      most = d;
      worst = i;
      if (std::isnan(d)) break;
    }
  }
  const int64_t width = std::max<int64_t>(1, port.dim(-1));
  const int64_t row = worst / width;
  const int64_t first = std::max<int64_t>(0, worst % width - 3);
  std::vector<std::string> lines;
  for (int64_t c = first; c < std::min(width, first + 8); ++c) {
    const int64_t i = row * width + c;
    lines.push_back(fmt::format("row {}, channel {}: reference {:.6g}, port {:.6g}", row, c,
                                load_element(reference.data, reference.dtype, i),
                                load_element(port.data, port.dtype, i)));
  }
  return lines;
}

std::vector<std::string> FaultBench::write_tensors(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  std::vector<std::string> lines;
  const auto write = [&](const std::string& name, const View& view, const std::string& what) {
    const std::string file = file_name(name);
    if (static_cast<int64_t>(view.bytes()) > kMostBytes) {
      lines.push_back(fmt::format("{}: {} {}, left out: too large", name, what, shape_text(view)));
      return;
    }
    write_npy(folder / file, view);
    lines.push_back(fmt::format("{}: {} {}", file, what, shape_text(view)));
  };
  for (const ValueId& value : replay_->known()) {
    const auto is_read = [&](const Node& node) { return node.name == value_name(value); };
    if (std::ranges::none_of(piece_.nodes, is_read)) continue;
    write("input." + replay_->name_of(value), replay_->recorded(value),
          "the reference's " + replay_->name_of(value));
  }
  for (const Parameter& parameter : piece_.parameters) {
    write("weight." + parameter.path, replay_->weight(parameter.path), parameter.path);
  }
  write("expected", replay_->recorded(target_), "what the reference computes of these");
  write("found", found().view(), "what the port computes of these");
  return lines;
}

}  // namespace lockstep::parity
