#include "parity/run_replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <tuple>

#include "lockstep/error.h"
#include "parity/replay_values.h"

namespace lockstep::parity {
namespace {

constexpr int64_t kPageSize = 16;
constexpr int64_t kFewElements = 64;
constexpr int kDrawsOfFew = 8;
// Relative distance of two outputs of one call; of two calls' it is of the order of one.
constexpr double kSameCall = 0.02;

SymbolValues symbols_of(const RunInfo& run) {
  const auto total = static_cast<int64_t>(run.prompt_ids.size());
  const int64_t n_new = run.phase == Phase::kDecode ? 1 : total;
  const int64_t n_pages = (total + kPageSize - 1) / kPageSize;
  SymbolValues now;
  now.fill(1);
  auto set = [&](Symbol symbol, int64_t n) { now[static_cast<size_t>(symbol)] = n; };
  set(Symbol::kTokens, n_new);
  set(Symbol::kLogitRows, n_new);
  set(Symbol::kSequenceOffsets, 2);
  set(Symbol::kStepPages, n_pages);
  set(Symbol::kCachePages, n_pages);
  set(Symbol::kPageSize, kPageSize);
  return now;
}

// Whether both have the same rows in the same order: as many elements, and the first dimension
// (tokens) or, where heads or sequences are apart on one side, the last.
bool has_rows_of(const View& view, const TensorType& type, const SymbolValues& now) {
  const auto size = [&](const Dim& dim) {
    return dim.count * now[static_cast<size_t>(dim.symbol)];
  };
  const auto dims = type.shape.dims();
  return view.elements() == type.shape.elements(now) &&
         (view.dim(0) == size(dims.front()) || view.dim(-1) == size(dims.back()));
}

// As tensors of a dump are named; an input is what comes between two modules.
std::string target_name(const lockstep::Tap& tap) {
  if (tap.role == lockstep::Tap::Role::kOutput) return tap.path;
  return tap.path + ":input" + (tap.index > 0 ? fmt::format(".{}", tap.index) : "");
}

const Tap* find_tap(const Run& run, const std::string& path) {
  const auto at = std::ranges::find_if(run.taps, [&](const Tap& tap) {
    return tap.info.path == path && tap.info.role == TapRole::kOutput && tap.info.index == 0;
  });
  return at == run.taps.end() ? nullptr : &*at;
}

std::map<int, const View*> outputs_of(const Run& run, const std::string& path) {
  std::map<int, const View*> outputs;
  for (const Tap& tap : run.taps) {
    const bool is_output = tap.info.role == TapRole::kOutput && tap.info.index == 0;
    if (is_output && tap.info.path == path) outputs.emplace(tap.info.call, &tap.view);
  }
  return outputs;
}

// The port's calls of one module and the reference's, each at most once: the nearest pairs first,
// if they are near at all, then what is left in the order of both.
std::map<int, int> match_repeated(const std::map<int, const View*>& port,
                                  const std::map<int, const View*>& reference) {
  std::vector<std::tuple<double, int, int>> pairs;
  for (const auto& [call, view] : port) {
    for (const auto& [other, recorded] : reference) {
      if (view->elements() != recorded->elements()) continue;
      pairs.emplace_back(difference(*view, *recorded), call, other);
    }
  }
  const auto in_order = [](const auto& pair) {
    const auto& [distance, call, other] = pair;
    const bool is_near = distance <= kSameCall;
    return std::tuple(!is_near, is_near ? distance : 0, call, other);
  };
  std::ranges::sort(pairs, {}, in_order);
  std::map<int, int> matched;
  std::set<int> taken;
  for (const auto& [distance, call, other] : pairs) {
    if (matched.contains(call) || !taken.insert(other).second) continue;
    matched.emplace(call, other);
  }
  return matched;
}

}  // namespace

std::set<std::string> misfits(const Graph& graph, const Recording& reference) {
  std::set<std::string> found;
  const std::vector<lockstep::Tap> taps = list_taps(graph, "*", TapInputs::kYes);
  for (const Run& run : reference.runs) {
    std::map<std::string, const Tap*> recorded;
    for (const Tap& tap : run.taps) recorded.emplace(tap_key(tap.info), &tap);
    const SymbolValues now = symbols_of(run.info);
    for (const lockstep::Tap& tap : taps) {
      const auto at = recorded.find(tap_key(tap_info(tap)));
      if (at == recorded.end() || graph.node(tap.value).kind != NodeKind::kOp) continue;
      if (!has_rows_of(at->second->view, graph.type(tap.value), now)) found.insert(at->first);
    }
  }
  return found;
}

std::string recorded_name(const TapInfo& tap) {
  std::string name = tap.path;
  if (tap.call > 0) name += fmt::format("#{}", tap.call);
  if (tap.role == TapRole::kInput) {
    name += ":input";
  } else if (tap.index > 0) {
    name += ":output";
  }
  return tap.index > 0 ? name + fmt::format(".{}", tap.index) : name;
}

RunReplay::RunReplay(Pipeline& pipeline, const Recording& reference,
                     const std::set<std::string>& misfits, const Run& run)
    : pipeline_(pipeline),
      reference_(reference),
      misfits_(misfits),
      run_(run),
      split_(split_values(pipeline.graph(), reference, run.info.dtype, misfits)),
      graph_(split_.graph) {
  total_ = static_cast<int64_t>(run.info.prompt_ids.size());
  n_new_ = run.info.phase == Phase::kDecode ? 1 : total_;
  n_pages_ = (total_ + kPageSize - 1) / kPageSize;
  now_ = symbols_of(run.info);
  for (size_t i = 0; i < graph_.parameters.size(); ++i) {
    weights_.emplace(graph_.parameters[i].path, pipeline.weights().views()[i]);
  }
}

void RunReplay::prepare() {
  match_calls();
  find_known();
  make_step_data();
}

std::string RunReplay::name_of(ValueId v) const {
  const auto at = names_.find(v);
  return at == names_.end() ? "" : at->second;
}

std::set<ValueId> RunReplay::known() const {
  std::set<ValueId> values;
  for (const auto& [value, tap] : known_) values.insert(value);
  return values;
}

View RunReplay::weight(const std::string& path) const {
  const auto at = weights_.find(path);
  return at == weights_.end() ? View() : at->second;
}

std::map<ValueId, double> RunReplay::accumulated_in(const Recording& port) const {
  std::map<ValueId, double> found;
  const auto run = std::ranges::find_if(port.runs, [&](const Run& candidate) {
    return candidate.info.dtype == run_.info.dtype && candidate.info.phase == run_.info.phase &&
           candidate.info.prompt_ids == run_.info.prompt_ids;
  });
  if (run == port.runs.end()) return found;
  std::map<std::string, const Tap*> recorded;
  for (const Tap& tap : run->taps) recorded.emplace(tap_key(tap.info), &tap);
  for (const lockstep::Tap& tap : list_taps(graph_, "*", TapInputs::kYes)) {
    const auto reference = known_.find(tap.value);
    const auto at = recorded.find(tap_key(tap_info(tap)));
    if (reference == known_.end() || at == recorded.end() || found.contains(tap.value)) continue;
    if (at->second->view.elements() != reference->second->view.elements()) continue;
    found[tap.value] = difference(at->second->view, reference->second->view);
  }
  return found;
}

std::map<ValueId, double> RunReplay::accumulated(const Recording* port) {
  std::map<ValueId, double> found;
  if (port != nullptr) found = accumulated_in(*port);
  std::vector<ValueId> values;
  for (const auto& [value, tap] : known_) {
    if (!found.contains(value)) values.push_back(value);
  }
  if (values.empty()) return found;
  run_port(values,
           [&](ValueId v, const View& rows) { found[v] = difference(rows, known_.at(v)->view); });
  return found;
}

std::vector<int64_t> RunReplay::shape_of(const TensorType& type) const {
  std::vector<int64_t> shape;
  for (const Dim& dim : type.shape.dims()) {
    shape.push_back(dim.count * now_[static_cast<size_t>(dim.symbol)]);
  }
  return shape;
}

// Runs the port on the run's tokens, reporting `values` of its last call.
void RunReplay::run_port(const std::vector<ValueId>& values, const Observe& observe) {
  std::vector<int32_t> ids(run_.info.prompt_ids.begin(), run_.info.prompt_ids.end());
  Sequence sequence;
  const auto before = static_cast<size_t>(total_ - n_new_);
  if (before > 0) pipeline_.prefill(sequence, std::span(ids).first(before));
  // Aliases are the port's own values.
  std::map<ValueId, std::vector<ValueId>> by_origin;
  std::vector<ValueId> origins;
  for (const ValueId& value : values) {
    ValueId origin = split_.origin[value.node];
    origin.output += value.output;
    if (by_origin[origin].empty()) origins.push_back(origin);
    by_origin[origin].push_back(value);
  }
  pipeline_.observe(origins, [&](ValueId origin, const View& rows) {
    for (const ValueId& value : by_origin.at(origin)) observe(value, rows);
  });
  const Segment segment{&sequence, std::span(ids).subspan(before), LogitRows::kAll};
  pipeline_.step({&segment, 1});
  pipeline_.observe({}, nullptr);
  pipeline_.release(sequence);
}

// The reference may call a module in another order than the port (it walks a set for Gemma 3's
// rotary embedding): calls of one path belong together whose outputs are the same, and the others
// in their order.
void RunReplay::match_calls() {
  std::map<std::string, std::map<int, ValueId>> calls;
  for (const lockstep::Tap& tap : list_taps(graph_, "*", TapInputs::kNo)) {
    if (tap.index == 0) calls[tap.path].emplace(static_cast<int>(tap.call), tap.value);
  }
  std::erase_if(calls, [](const auto& entry) { return entry.second.size() < 2; });
  if (calls.empty()) return;
  std::vector<ValueId> values;
  for (const auto& [path, by_call] : calls) {
    for (const auto& [call, value] : by_call) values.push_back(value);
  }
  std::map<ValueId, Tensor> seen;
  run_port(values, [&](ValueId v, const View& rows) { seen[v] = Tensor::copy_of(rows); });
  for (const auto& [path, by_call] : calls) {
    std::map<int, const View*> found;
    for (const auto& [call, value] : by_call) found[call] = &seen.at(value).view();
    reference_call_[path] = match_repeated(found, outputs_of(run_, path));
  }
}

// What the reference recorded of a tap of the port; null if nothing.
const Tap* RunReplay::recorded_of(const std::map<std::string, const Tap*>& recorded,
                                  const lockstep::Tap& tap) const {
  TapInfo info = tap_info(tap);
  if (const auto path = reference_call_.find(tap.path); path != reference_call_.end()) {
    const auto call = path->second.find(info.call);
    if (call != path->second.end()) info.call = call->second;
  }
  const auto at = recorded.find(tap_key(info));
  return at == recorded.end() ? nullptr : at->second;
}

void RunReplay::find_known() {
  std::map<std::string, const Tap*> recorded;
  for (const Tap& tap : run_.taps) recorded.emplace(tap_key(tap.info), &tap);
  std::vector<std::pair<std::string, ValueId>> unrecorded;
  for (const lockstep::Tap& tap : list_taps(graph_, "*", TapInputs::kYes)) {
    if (graph_.node(tap.value).kind != NodeKind::kOp) continue;
    const Tap* reference = recorded_of(recorded, tap);
    if (reference == nullptr || misfits_.contains(tap_key(reference->info))) {
      if (tap.role == lockstep::Tap::Role::kOutput) {
        unrecorded.emplace_back(
            reference == nullptr
                ? tap.path + ": the reference did not record it"
                : fmt::format("{}: the reference recorded {}, other rows than the port's", tap.path,
                              to_string(reference->view)),
            tap.value);
      }
      continue;
    }
    add_known(target_name(tap), tap.class_name, tap.value, *reference);
  }
  add_logits();
  for (const auto& [what, value] : unrecorded) {
    if (!judged_.contains(graph_.storage(value))) {
      unrecorded_.push_back(run_.info.id + " " + what);
    }
  }
}

// Each value is judged once, in order of execution, under the name of the module it comes out of,
// or else goes into.
void RunReplay::add_known(const std::string& name, const std::string& module_class, ValueId value,
                          const Tap& reference) {
  known_.emplace(value, &reference);
  names_.emplace(value, name == "logits" ? name : recorded_name(reference.info));
  std::vector<const Tap*>& judged = judged_[graph_.storage(value)];
  const bool is_judged = std::ranges::any_of(judged, [&](const Tap* other) {
    return other == &reference || is_same_value(reference.view, other->view, run_.info.dtype);
  });
  if (is_judged) return;
  judged.push_back(&reference);
  targets_.push_back({name, module_class, value});
}

// What lies between the head and the logits comes out of no module: a cap, a factor.
void RunReplay::add_logits() {
  const ValueId value = graph_.outputs.front().value;
  if (!run_.logits || run_.first_logit_row != 0) return;
  if (run_.logits->view.elements() != graph_.type(value).shape.elements(now_)) return;
  add_known("logits", graph_.architecture, value, *run_.logits);
}

void RunReplay::make_step_data() {
  auto add = [&](const char* name, std::vector<int32_t> values) {
    Tensor tensor(DType::kInt32, {static_cast<int64_t>(values.size())});
    std::ranges::copy(values, tensor.data<int32_t>());
    inputs_.insert_or_assign(name, std::move(tensor));
  };
  const auto first = static_cast<int32_t>(total_ - n_new_);
  std::vector<int32_t> ids(run_.info.prompt_ids.begin() + first, run_.info.prompt_ids.end());
  std::vector<int32_t> positions(n_new_), rows(n_new_), pages(n_pages_);
  std::iota(positions.begin(), positions.end(), first);
  std::iota(rows.begin(), rows.end(), 0);
  std::iota(pages.begin(), pages.end(), 0);
  add("@input_ids", std::move(ids));
  add("@positions", std::move(positions));
  add("@logit_rows", std::move(rows));
  add("@pages", std::move(pages));
  add("@row_offsets", {0, static_cast<int32_t>(n_new_)});
  add("@page_offsets", {0, static_cast<int32_t>(n_pages_)});
  add("@state_slots", {0});
}

// The run that ended where this one begins.
const Run* RunReplay::previous() const {
  const std::vector<int64_t>& ids = run_.info.prompt_ids;
  for (const Run& run : reference_.runs) {
    if (run.info.dtype == run_.info.dtype && run.info.attention == run_.info.attention &&
        run.info.prompt_ids.size() + static_cast<size_t>(n_new_) == ids.size() &&
        std::equal(run.info.prompt_ids.begin(), run.info.prompt_ids.end(), ids.begin())) {
      return &run;
    }
  }
  return nullptr;
}

// Earlier tokens of a paged cache [pages, heads, page size, width] from the reference's rows.
void RunReplay::fill_pages(Tensor& cache, const Tap& tap) const {
  const View& to = cache.view();
  const int64_t heads = to.dim(1), width = to.dim(3);
  const int64_t n_rows = tap.view.dim(0);
  const Tensor rows = convert(tap.view, to.dtype, {n_rows, heads, width});
  const size_t bytes = static_cast<size_t>(width) * dtype_size(to.dtype);
  for (int64_t row = 0; row < n_rows - n_new_; ++row) {
    const int64_t position = total_ - n_rows + row;
    for (int64_t head = 0; head < heads; ++head) {
      const int64_t at = ((position / kPageSize) * heads + head) * kPageSize;
      std::copy_n(rows.data<std::byte>() + static_cast<size_t>(row * heads + head) * bytes, bytes,
                  cache.data<std::byte>() + static_cast<size_t>(at + position % kPageSize) * bytes);
    }
  }
}

// What the reference recorded of a cache before this step; null if nothing.
const Tap* RunReplay::recorded_cache(const CacheInput& input) const {
  const Run* from = input.kind == LOCKSTEP_CACHE_PAGED ? &run_ : previous();
  return from == nullptr ? nullptr : find_tap(*from, input.name.substr(1));
}

void RunReplay::fill_cache(Tensor& cache, const CacheInput& input, const Tap& tap) const {
  const bool paged = input.kind == LOCKSTEP_CACHE_PAGED;
  const View& to = cache.view();
  const int64_t wanted = paged ? tap.view.dim(0) * to.dim(1) * to.dim(3) : to.elements();
  if (tap.view.elements() != wanted) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected {}, the reference has {}", input.name, to_string(to),
                            to_string(tap.view)));
  }
  if (paged) {
    fill_pages(cache, tap);
  } else {
    cache = convert(tap.view, to.dtype, {to.shape.begin(), to.shape.begin() + to.rank});
  }
}

RunReplay::Caches RunReplay::caches_before(const Graph& part) {
  Caches caches;
  bool is_complete = true;
  for (const CacheInput& input : part.caches) {
    const TensorType& type = part.nodes[input.node].outputs[0];
    caches.emplace(input.name, Tensor(type.dtype, shape_of(type)));
    is_complete = is_complete && recorded_cache(input) != nullptr;
  }
  if (n_new_ == total_) return caches;
  if (!is_complete) replay_before(part, caches);
  for (const CacheInput& input : part.caches) {
    const Tap* tap = recorded_cache(input);
    if (tap != nullptr) fill_cache(caches.at(input.name), input, *tap);
  }
  return caches;
}

void RunReplay::replay_before(const Graph& part, Caches& caches) {
  if (before_ == nullptr) {
    const Run* run = previous();
    if (run == nullptr) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("{} was not recorded before this step", part.caches[0].name),
                  "record the reference with --steps");
    }
    before_ = std::make_unique<RunReplay>(pipeline_, reference_, misfits_, *run);
    before_->prepare();
  }
  before_->set(Symbol::kCachePages, now_[static_cast<size_t>(Symbol::kCachePages)]);
  if (before_->n_new_ != before_->total_) before_->replay_before(part, caches);
  before_->execute(part, caches, {});
}

Tensor RunReplay::execute(const Graph& part, const Caches& caches, const Feed& feed) {
  std::vector<View> parameters;
  for (const Parameter& parameter : part.parameters) {
    const auto changed = feed.weights.find(parameter.path);
    parameters.push_back(changed == feed.weights.end() ? weights_.at(parameter.path)
                                                       : changed->second.view());
  }
  Executor executor(part, parameters, now_);
  for (const auto& [name, tensor] : caches) {
    if (executor.has_input(name)) executor.bind_input(name, tensor.view());
  }
  for (const auto& [name, tensor] : inputs_) {
    if (!executor.has_input(name)) continue;
    const auto changed = feed.known.find(name);
    executor.bind_input(name, (changed == feed.known.end() ? tensor : changed->second).view());
  }
  std::vector<Tensor> bound;
  for (const auto& [value, tap] : known_) {
    if (!executor.has_input(value_name(value))) continue;
    const TensorType& type = graph_.type(value);
    const auto changed = feed.known.find(names_.at(value));
    bound.push_back(changed != feed.known.end()
                        ? convert(changed->second.view(), type.dtype, shape_of(type))
                        : convert(feed.given(tap->view).view(), type.dtype, shape_of(type)));
    executor.bind_input(value_name(value), bound.back().view());
  }
  for (const auto& [name, tensor] : feed.inputs) {
    if (executor.has_input(name)) executor.bind_input(name, tensor.view());
  }
  if (!feed.observed.empty()) executor.observe(feed.observed, feed.observe);
  executor.run(now_, pipeline_.context());
  return Tensor::copy_of(executor.output(0));
}

double RunReplay::response(const Graph& part, const Caches& caches, const Tensor& found) {
  // One draw says little of few elements.
  const int n_draws = found.view().elements() < kFewElements ? kDrawsOfFew : 1;
  double energy = 0;
  for (int draw = 0; draw < 2 * n_draws; ++draw) {
    const Nudge kind = draw % 2 == 0 ? Nudge::kElements : Nudge::kRows;
    std::mt19937_64 random(static_cast<uint64_t>(draw));
    Caches moved_caches;
    for (const auto& [name, tensor] : caches) {
      moved_caches.emplace(name, nudged(tensor.view(), kind, random));
    }
    Feed feed;
    feed.given = [&](const View& view) { return nudged(view, kind, random); };
    const Tensor moved = execute(part, moved_caches, feed);
    const double by = difference(moved.view(), found.view());
    // A unit in the last place is sqrt(12) times the root mean square of a rounding.
    energy += by * by / 12 / n_draws;
  }
  return std::isfinite(energy) ? std::sqrt(energy) : 0;
}

}  // namespace lockstep::parity
