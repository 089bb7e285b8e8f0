// Causes that are a wrong input: an op reads another value than the reference's does, or a module
// hands on what it was given.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <tuple>

#include "parity/anatomy.h"
#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/repair.h"
#include "parity/explain/edit.h"

namespace lockstep::parity {
namespace {

constexpr size_t kMostCandidates = 200;
constexpr int64_t kMostPieces = 128;

// What an op reads, and what it would read instead.
struct Wire {
  const SiteStep* step = nullptr;
  const Operand* operand = nullptr;
  size_t index = 0;
  std::string candidate;  // path of a value of the reference
};
using IsWanted = std::function<bool(const Wire&)>;

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool is_norm(std::string_view path) {
  const std::string name = last_name(path.substr(0, path.find(':')));
  return !contains(path, ":input") && (contains(name, "norm") || contains(name, "ln_"));
}

// A norm of queries or keys.
bool is_head_norm(std::string_view path) {
  const std::string name = last_name(path.substr(0, path.find(':')));
  return is_norm(path) && (name.starts_with("q_") || name.starts_with("k_") ||
                           contains(name, "query") || contains(name, "key"));
}

bool is_rotated(std::string_view path) { return path.ends_with("_rot"); }
bool is_layer(std::string_view path) { return dissect(path).landmark == Landmark::kLayer; }

// The stream between blocks: a layer's outcome, or what goes into a norm.
bool is_stream(std::string_view path) {
  const size_t at = path.find(":input");
  if (at == std::string_view::npos) return is_layer(path);
  return is_norm(path.substr(0, at)) || is_layer(path.substr(0, at));
}

// Values of the same layer as the site, or of none; of the stream, the next layer's too.
bool is_near(const Site& site, const std::string& path) {
  const int layer = dissect(path).layer;
  return layer < 0 || site.geometry.layer < 0 || std::abs(layer - site.geometry.layer) <= 1;
}

std::vector<Finding> try_wire(const Site& site, const Wire& wire) {
  const Array* values = site.tap(wire.candidate);
  if (values == nullptr) return {};
  Change change;
  change.given = {{wire.step->node, wire.index, *values}};
  Finding finding;
  finding.what = fmt::format("{} of {} is {}, the reference takes {}", wire.operand->role,
                             wire.step->op, wire.operand->name, wire.candidate);
  finding.change = fmt::format("in {}: give {} to {}", site.path, wire.candidate, wire.step->op);
  finding.measured = {{wire.operand->role, wire.operand->name, wire.candidate}};
  return try_change(site, std::move(change), std::move(finding));
}

// Every wire of the chain whose candidate `wanted` takes; the best of them.
std::vector<Finding> rewired(const Site& site, const IsWanted& wanted) {
  if (site.is_sound_right()) return {};  // the graph is right, so its wires are
  std::vector<Finding> found;
  size_t n_tried = 0;
  const std::vector<std::string> paths = site.tap_paths();
  for (const SiteStep& step : site.steps) {
    for (size_t i = 0; i < step.operands.size(); ++i) {
      const Operand& operand = step.operands[i];
      if (operand.kind != Operand::Kind::kKnown) continue;
      const Array* held = site.value(operand);
      for (const std::string& path : paths) {
        const Wire wire{&step, &operand, i, path};
        if (path == operand.name || !is_near(site, path) || !wanted(wire)) continue;
        const Array* values = site.tap(path);
        if (held == nullptr || values == nullptr || values->elements() != held->elements() ||
            values->values == held->values || path == site.path) {
          continue;
        }
        if (++n_tried > kMostCandidates) return best_of(std::move(found));
        for (Finding& finding : try_wire(site, wire)) found.push_back(std::move(finding));
      }
    }
  }
  return best_of(std::move(found));
}

std::vector<Finding> head_norm_skipped(const Site& site) {
  return rewired(site, [](const Wire& wire) { return is_head_norm(wire.candidate); });
}

std::vector<Finding> norm_skipped(const Site& site) {
  return rewired(site, [](const Wire& wire) {
    return is_norm(wire.candidate) && !is_head_norm(wire.candidate);
  });
}

std::vector<Finding> rotation_skipped(const Site& site) {
  return rewired(site, [](const Wire& wire) {
    return is_rotated(wire.candidate) && !is_rotated(wire.operand->name);
  });
}

std::vector<Finding> stream_read_elsewhere(const Site& site) {
  return rewired(site, [](const Wire& wire) {
    const bool both_layers = is_layer(wire.operand->name) && is_layer(wire.candidate);
    return is_stream(wire.candidate) && !both_layers;
  });
}

std::vector<Finding> layer_skipped(const Site& site) {
  return rewired(site, [](const Wire& wire) {
    return is_layer(wire.operand->name) && is_layer(wire.candidate);
  });
}

std::vector<Finding> other_input(const Site& site) {
  return rewired(site, [](const Wire& wire) {
    return !is_norm(wire.candidate) && !is_rotated(wire.candidate) && !is_stream(wire.candidate);
  });
}

// Two inputs of one op, each in the place of the other.
std::vector<Finding> exchange(const Site& site, const SiteStep& step, size_t a, size_t b) {
  // A sum or a product is the same either way.
  if (step.op == "elementwise" && step.attrs.get_string("fn", "") != "sub") return {};
  const Operand &first = step.operands[a], &second = step.operands[b];
  const Array *x = site.value(first), *y = site.value(second);
  const auto identity = [](const Operand& o) { return std::tie(o.kind, o.name, o.step, o.output); };
  const bool is_same_kind = first.shape == second.shape && identity(first) != identity(second);
  if (x == nullptr || y == nullptr || !is_same_kind) return {};
  Change change;
  change.given = {{step.node, a, *y}, {step.node, b, *x}};
  Finding finding;
  finding.what =
      fmt::format("{} and {} of {} stand for each other", first.role, second.role, step.op);
  finding.change = fmt::format("in {}: {} takes {} as {} and {} as {}", site.path, step.op,
                               second.name, first.role, first.name, second.role);
  finding.measured = {{first.role, first.name, second.name},
                      {second.role, second.name, first.name}};
  return try_change(site, std::move(change), std::move(finding));
}

std::vector<Finding> exchanged(const Site& site,
                               const std::function<bool(const Operand&, const Operand&)>& wanted) {
  std::vector<Finding> found;
  for (const SiteStep& step : site.steps) {
    // Either order of these is the same: what would fit is the step before.
    if (step.op == "elementwise") continue;
    for (size_t a = 0; a < step.operands.size(); ++a) {
      for (size_t b = a + 1; b < step.operands.size(); ++b) {
        if (!wanted(step.operands[a], step.operands[b])) continue;
        for (Finding& f : exchange(site, step, a, b)) found.push_back(std::move(f));
      }
    }
  }
  return best_of(std::move(found));
}

bool is_table(const Operand& operand) { return operand.role == "cos" || operand.role == "sin"; }

std::vector<Finding> exchanged_inputs(const Site& site) {
  return exchanged(site, [](const Operand& a, const Operand& b) {
    const auto is_value = [](const Operand& operand) {
      return operand.kind == Operand::Kind::kKnown || operand.kind == Operand::Kind::kStep;
    };
    return is_value(a) && is_value(b) && !is_table(a);
  });
}

std::vector<Finding> exchanged_tables(const Site& site) {
  return exchanged(site,
                   [](const Operand& a, const Operand& b) { return is_table(a) && is_table(b); });
}

// A norm and a rotation in the other order.
std::vector<Finding> norm_order(const Site& site) {
  if (site.steps.size() != 2 || site.is_sound_right()) return {};
  const SiteStep &first = site.steps[0], &second = site.steps[1];
  const auto is_norm_op = [](const SiteStep& step) {
    return step.op == "rms_norm" || step.op == "layer_norm";
  };
  const bool is_pair =
      (first.op == "rope" && is_norm_op(second)) || (is_norm_op(first) && second.op == "rope");
  if (!is_pair || second.operands[0].step != 0) return {};
  Change change;
  change.graph = [a = first.node, b = second.node](Graph& part) {
    Node &early = part.nodes[a], &late = part.nodes[b];
    std::swap(early.op, late.op);
    std::swap(early.attrs, late.attrs);
    const ValueId x = early.inputs[0], between = late.inputs[0];
    std::swap(early.inputs, late.inputs);
    early.inputs[0] = x;
    late.inputs[0] = between;
  };
  Finding finding;
  finding.what = fmt::format("{} comes before {}, in the reference behind it", first.op, second.op);
  finding.change = fmt::format("in {}: {} first, then {}", site.path, second.op, first.op);
  finding.measured = {{"order", first.op + ", " + second.op, second.op + ", " + first.op}};
  return try_change(site, std::move(change), std::move(finding));
}

// Of a sum, one part times a gate of one number a token.
std::vector<Finding> gated_part(const Site& site) {
  const SiteStep* step = site.only("elementwise");
  if (step == nullptr || step->operands.size() != 2) return {};
  const Array *a = site.value(step->operands[0]), *b = site.value(step->operands[1]);
  if (a == nullptr || b == nullptr || a->elements() != b->elements()) return {};
  std::vector<Finding> found;
  for (const std::string& path : site.tap_paths()) {
    const Array* gate = is_near(site, path) ? site.tap(path) : nullptr;
    if (gate == nullptr || gate->elements() != a->rows() || gate->width() != 1) continue;
    for (const size_t part : {0, 1}) {
      Array gated = part == 0 ? *a : *b;
      for (int64_t r = 0; r < gated.rows(); ++r) {
        const double open = 1 / (1 + std::exp(-gate->values[static_cast<size_t>(r)]));
        for (int64_t i = 0; i < gated.width(); ++i) gated.row(r)[i] *= open;
      }
      Change change;
      change.given = {{step->node, part, std::move(gated)}};
      Finding finding;
      finding.what =
          fmt::format("the reference multiplies {} by the sigmoid of {}, the port does not",
                      step->operands[part].name, path);
      finding.change = fmt::format("in {}: multiply by the sigmoid of {}", site.path, path);
      finding.measured = {{"gate", "none", path}};
      for (Finding& f : try_change(site, std::move(change), std::move(finding))) {
        found.push_back(std::move(f));
      }
    }
  }
  return best_of(std::move(found));
}

// Pieces of a fused value: two of them in each other's place, or one from elsewhere.
std::vector<Finding> split_order(const Site& site) {
  const auto bounds_of = [](const SiteStep& step) {
    const std::span<const int64_t> all = step.attrs.get_ints("bounds");
    return std::vector<int64_t>(all.begin(), all.end());
  };
  std::vector<Finding> found;
  const auto attempt = [&](std::vector<std::pair<uint32_t, std::vector<int64_t>>> edits,
                           const SiteStep& step) {
    Finding finding;
    const std::vector<int64_t> now = bounds_of(step), then = edits.front().second;
    finding.what =
        fmt::format("the piece is taken from {}, in the reference from {}", now[0], then[0]);
    finding.change = fmt::format("in {}: slice from {}", site.path, then[0]);
    finding.measured = {{"begin", std::to_string(now[0]), std::to_string(then[0])}};
    Change change;
    change.graph = [edits = std::move(edits)](Graph& part) {
      for (const auto& [node, bounds] : edits) set_attr(part, node, "bounds", bounds);
    };
    for (Finding& f : try_change(site, std::move(change), std::move(finding))) {
      found.push_back(std::move(f));
    }
  };
  for (const SiteStep& step : site.steps) {
    if (step.op != "slice" || site.is_sound_right()) continue;
    const std::vector<int64_t> now = bounds_of(step);
    int64_t unit = 0;
    for (const int64_t bound : now) unit = std::gcd(unit, bound);
    const int64_t dim =
        step.attrs.get_int("dim", static_cast<int64_t>(step.operands[0].shape.size()) - 1);
    const int64_t size = step.operands[0].shape[static_cast<size_t>(dim)];
    for (int64_t by = -size; unit > 0 && size / unit <= kMostPieces && by <= size; by += unit) {
      std::vector<int64_t> moved = now;
      for (int64_t& bound : moved) bound += by;
      if (by != 0 && moved.front() >= 0 && moved.back() <= size)
        attempt({{step.node, moved}}, step);
    }
    for (const SiteStep& other : site.steps) {
      const bool is_pair = other.op == "slice" && other.node > step.node &&
                           other.operands[0].name == step.operands[0].name &&
                           other.operands[0].step == step.operands[0].step;
      if (is_pair) attempt({{step.node, bounds_of(other)}, {other.node, now}}, step);
    }
  }
  return best_of(std::move(found));
}

// A value that the port has under another's name: nothing is computed in between.
std::vector<Finding> handed_on(const Site& site, bool (*is_kind)(const Site&)) {
  if (!site.steps.empty() || site.handed_on.empty() || !is_kind(site)) return {};
  Finding finding;
  finding.what = fmt::format("{} is {} unchanged: what the reference does in between is left out",
                             site.path, site.handed_on);
  finding.change = fmt::format("compute {}", site.path);
  finding.measured = {{"value", site.handed_on, site.path}};
  return {std::move(finding)};
}

bool leaves_head_norm(const Site& site) { return is_head_norm(site.path); }
bool leaves_norm(const Site& site) { return is_norm(site.path) && !is_head_norm(site.path); }
bool leaves_rotation(const Site& site) { return is_rotated(site.path); }
bool leaves_logits(const Site& site) { return site.path == "logits"; }
bool leaves_activation(const Site& site) {
  return contains(last_name(site.path), "act") || contains(site.module_class, "Activation");
}
bool leaves_table(const Site& site) { return contains(site.handed_on, "rotary"); }
// The outcome of a layer, or of its last block, from another layer.
bool leaves_layer(const Site& site) {
  const int own = dissect(site.path).layer, other = dissect(site.handed_on).layer;
  const bool is_outcome = !contains(site.path, ":input") && other >= 0;
  return own != other && (is_layer(site.path) || is_outcome);
}
bool leaves_sum(const Site& site) { return is_stream(site.path) && !leaves_layer(site); }
bool leaves_rest(const Site& site) {
  return !leaves_head_norm(site) && !leaves_norm(site) && !leaves_rotation(site) &&
         !leaves_logits(site) && !leaves_activation(site) && !leaves_layer(site) &&
         !leaves_sum(site) && !leaves_table(site);
}

template <bool (*kIsKind)(const Site&)>
std::vector<Finding> left_out(const Site& site) {
  return handed_on(site, kIsKind);
}

}  // namespace

std::vector<Cause> input_causes() {
  return {
      {"head_norm_skipped", 32, "norm of queries or keys left out", "", "*", "q_norm k_norm",
       head_norm_skipped},
      {"head_norm_skipped", 32, "norm of queries or keys left out", "", "*", "",
       left_out<leaves_head_norm>},
      {"norm_skipped", 38, "norm left out", "", "*", "", norm_skipped},
      {"norm_skipped", 38, "norm left out", "", "*", "", left_out<leaves_norm>},
      {"rotation_skipped", 7, "rotation left out", "", "attention", "q_rot k_rot",
       rotation_skipped},
      {"rotation_skipped", 7, "rotation left out", "", "*", "", left_out<leaves_rotation>},
      {"residual_order", 39, "order of the residual sums", "", "*", "", stream_read_elsewhere},
      {"residual_order", 39, "order of the residual sums", "", "*", "", left_out<leaves_sum>},
      {"layer_skipped", 58, "layer left out", "", "*", "", layer_skipped},
      {"layer_skipped", 58, "layer left out", "", "*", "", left_out<leaves_layer>},
      {"logits_unchanged", 25, "cap or factor of the logits left out", "", "*", "",
       left_out<leaves_logits>},
      {"activation", 48, "activation left out", "", "*", "", left_out<leaves_activation>},
      {"gate_left_out", 50, "gate or part left out", "", "*", "", left_out<leaves_rest>},
      {"gate_left_out", 50, "gate or part left out", "", "*", "", other_input},
      {"norm_order", 33, "order of norm and rotation", "", "rope", "q_norm k_norm", norm_order},
      {"gate_missing", 50, "gate of one part of a sum", "", "elementwise", "", gated_part},
      {"split_order", 29, "pieces of a fused projection", "", "slice", "", split_order},
      {"exchanged_inputs", 28, "inputs exchanged", "", "*", "", exchanged_inputs},
      {"exchanged_tables", 75, "cosines and sines exchanged", "", "rope", "", exchanged_tables},
      {"exchanged_tables", 75, "cosines and sines exchanged", "", "*", "", left_out<leaves_table>},
  };
}

}  // namespace lockstep::parity
