#include "parity/dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "lockstep/error.h"
#include "parity/dump_format.h"

namespace lockstep::parity {
namespace {

void add_rows(TapStats& stats, double& sum, double& sum_squares, const View& rows) {
  const int64_t n = rows.elements();
  for (int64_t i = 0; i < n; ++i) {
    const double x = load_element(rows.data, rows.dtype, i);
    if (!std::isfinite(x)) {
      ++stats.non_finite;
      continue;
    }
    sum += x;
    sum_squares += x * x;
    stats.max_abs = std::max(stats.max_abs, std::abs(x));
  }
}

// One observed value: its statistics, and its tensor in the dump.
struct Recorded {
  TapStats stats;
  double sum = 0, sum_squares = 0;
  int64_t rows = 0;
  int64_t elements = 0;
  DumpWriter::Handle tensor;
};

class Recorder {
 public:
  Recorder(Pipeline& pipeline, const DumpRequest& request,
           const std::optional<std::filesystem::path>& folder)
      : pipeline_(pipeline), graph_(pipeline.graph()), request_(request) {
    n_tokens_ = static_cast<int64_t>(request.prompt_ids.size());
    if (folder) start_writer(*folder);
    declare_taps();
    declare_logits();
    if (writer_) writer_->begin();
  }

  std::vector<TapStats> run() {
    std::vector<ValueId> values;
    for (const auto& [value, recorded] : recorded_) values.push_back(value);
    pipeline_.observe(values, [&](ValueId v, const View& rows) { record(recorded_.at(v), rows); });
    Sequence sequence;
    std::span<const int32_t> rest(request_.prompt_ids);
    for (const int64_t n : dump_steps(request_, pipeline_.options().max_tokens)) {
      const Segment segment{&sequence, rest.subspan(0, n), LogitRows::kAll};
      pipeline_.step({&segment, 1});
      rest = rest.subspan(n);
    }
    pipeline_.observe({}, nullptr);
    pipeline_.release(sequence);
    if (writer_) writer_->commit();
    return finish();
  }

 private:
  void start_writer(const std::filesystem::path& folder) {
    DumpInfo info;
    info.producer = {{"name", "lockstep"}, {"version", LOCKSTEP_SDK_VERSION}};
    info.model = pipeline_.model().files.folder.filename().string();
    info.architecture = graph_.architecture;
    info.config_json = pipeline_.model().files.config.text();
    writer_.emplace(folder, info);
    RunInfo run;
    run.dtype = dtype_name(graph_.activation_dtype);
    run.attention = "paged";
    run.device = "cpu";
    run.id = run.dtype + "-lockstep-p0-prefill";
    run.prompt_ids.assign(request_.prompt_ids.begin(), request_.prompt_ids.end());
    run_ = writer_->add_run(run);
  }

  // Rows of a tap are tokens, or logit rows, which are all tokens here.
  bool has_token_rows(ValueId v) const {
    const Shape& shape = graph_.type(v).shape;
    if (shape.rank() < 1 || shape[0].count != 1) return false;
    return shape[0].symbol == Symbol::kTokens || shape[0].symbol == Symbol::kLogitRows;
  }

  std::vector<int64_t> whole_shape(ValueId v) const {
    const Shape& shape = graph_.type(v).shape;
    std::vector<int64_t> dims = {n_tokens_};
    for (int i = 1; i < shape.rank(); ++i) dims.push_back(shape[i].count);
    return dims;
  }

  Recorded& add_value(ValueId v, const std::string& path) {
    Recorded& recorded = recorded_[v];
    recorded.stats.path = path;
    recorded.stats.shape = to_string(graph_.type(v));
    order_.push_back(v);
    return recorded;
  }

  void declare_taps() {
    for (const Tap& tap : list_taps(graph_, request_.taps, request_.inputs)) {
      if (!has_token_rows(tap.value)) continue;
      TapInfo info;
      info.path = tap.path;
      info.module_class = tap.class_name;
      info.role = tap.role == Tap::Role::kInput ? TapRole::kInput : TapRole::kOutput;
      if (!tap.argument.empty()) info.name = tap.argument;
      info.index = static_cast<int>(tap.index);
      info.call = static_cast<int>(tap.call);
      const auto known = recorded_.find(tap.value);
      if (known != recorded_.end()) {
        if (writer_) writer_->add_alias(run_, info, known->second.tensor);
        continue;
      }
      Recorded& recorded = add_value(tap.value, tap_key(info));
      if (writer_) {
        recorded.tensor =
            writer_->add_tap(run_, info, graph_.type(tap.value).dtype, whole_shape(tap.value));
      }
    }
  }

  void declare_logits() {
    const ValueId v = graph_.outputs[0].value;
    const auto known = recorded_.find(v);
    if (known != recorded_.end()) {
      if (writer_) writer_->alias_logits(run_, known->second.tensor);
      return;
    }
    Recorded& recorded = add_value(v, "logits");
    if (writer_) {
      recorded.tensor = writer_->add_logits(run_, graph_.type(v).dtype, whole_shape(v));
    }
  }

  void record(Recorded& recorded, const View& rows) {
    add_rows(recorded.stats, recorded.sum, recorded.sum_squares, rows);
    recorded.elements += rows.elements();
    if (writer_) writer_->write_rows(recorded.tensor, recorded.rows, rows);
    recorded.rows += rows.dim(0);
  }

  std::vector<TapStats> finish() {
    std::vector<TapStats> all;
    for (const ValueId& v : order_) {
      Recorded& recorded = recorded_.at(v);
      recorded.stats.mean = recorded.sum / static_cast<double>(recorded.elements);
      recorded.stats.norm = std::sqrt(recorded.sum_squares);
      all.push_back(recorded.stats);
    }
    return all;
  }

  Pipeline& pipeline_;
  const Graph& graph_;
  const DumpRequest& request_;
  int64_t n_tokens_ = 0;
  std::optional<DumpWriter> writer_;
  int run_ = 0;
  std::map<ValueId, Recorded> recorded_;
  std::vector<ValueId> order_;
};

}  // namespace

std::vector<int64_t> dump_steps(const DumpRequest& request, int64_t max_tokens) {
  const auto n = static_cast<int64_t>(request.prompt_ids.size());
  if (n == 0) throw Error(ErrorCode::kInvalidArgument, "prompt ids: expected at least one");
  if (request.prefill < 0 || request.prefill > n) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--prefill: expected 0 to {} (the prompt), found {}", n,
                            request.prefill));
  }
  if (request.chunk < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--chunk: expected 1 or more, found {}", request.chunk));
  }
  const int64_t prefill = request.prefill == 0 ? n : request.prefill;
  const int64_t chunk = request.chunk == 0 ? max_tokens : std::min(request.chunk, max_tokens);
  std::vector<int64_t> steps;
  for (int64_t begin = 0; begin < prefill; begin += chunk) {
    steps.push_back(std::min(chunk, prefill - begin));
  }
  steps.insert(steps.end(), n - prefill, 1);
  return steps;
}

std::vector<TapStats> dump(Pipeline& pipeline, const DumpRequest& request,
                           const std::optional<std::filesystem::path>& folder) {
  // Checked before anything is created on disk.
  dump_steps(request, pipeline.options().max_tokens);
  return Recorder(pipeline, request, folder).run();
}

}  // namespace lockstep::parity
