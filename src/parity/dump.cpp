#include "parity/dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "lockstep/error.h"
#include "parity/dump_format.h"

namespace lockstep::parity {
namespace {

constexpr const char* kAttention = "paged";
constexpr const char* kDevice = "cpu";

std::vector<int64_t> chunks(int64_t n, int64_t chunk) {
  std::vector<int64_t> calls;
  for (int64_t begin = 0; begin < n; begin += chunk) calls.push_back(std::min(chunk, n - begin));
  return calls;
}

RunInfo run_info(DType dtype, int prompt, std::vector<int64_t> ids, Phase phase, int step) {
  RunInfo info;
  info.dtype = dtype_name(dtype);
  info.attention = kAttention;
  info.device = kDevice;
  info.prompt = prompt;
  info.prompt_ids = std::move(ids);
  info.phase = phase;
  info.step = step;
  info.id = fmt::format("{}-{}-p{}-{}", info.dtype, kAttention, prompt,
                        phase == Phase::kPrefill ? "prefill" : fmt::format("decode{}", step));
  return info;
}

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

// One run being recorded: its taps, and where their rows go.
class RunRecorder {
 public:
  RunRecorder(Pipeline& pipeline, const PlannedRun& planned, const DumpOptions& options,
              DumpWriter* writer)
      : pipeline_(pipeline), graph_(pipeline.graph()), planned_(planned), writer_(writer) {
    if (writer_ != nullptr) run_ = writer_->add_run(planned.info);
    declare_taps(options);
    declare_logits();
  }

  void run(Sequence& sequence) {
    std::vector<ValueId> values;
    for (const auto& [value, recorded] : recorded_) values.push_back(value);
    pipeline_.observe(values, [&](ValueId v, const View& rows) {
      if (is_state(v)) {
        record_state(recorded_.at(v), rows);
      } else {
        record(recorded_.at(v), rows);
      }
    });
    std::span<const int32_t> rest(planned_.tokens);
    for (const int64_t n : planned_.calls) {
      const Segment segment{&sequence, rest.subspan(0, n), LogitRows::kAll};
      pipeline_.step({&segment, 1});
      rest = rest.subspan(n);
    }
    pipeline_.observe({}, nullptr);
  }

  std::vector<TapStats> stats() const {
    std::vector<TapStats> all;
    for (const ValueId& v : order_) {
      const Recorded& recorded = recorded_.at(v);
      all.push_back(recorded.stats);
      all.back().mean = recorded.sum / static_cast<double>(std::max<int64_t>(1, recorded.elements));
      all.back().norm = std::sqrt(recorded.sum_squares);
    }
    return all;
  }

 private:
  struct Recorded {
    TapStats stats;
    double sum = 0, sum_squares = 0;
    int64_t rows = 0, elements = 0;
    DumpWriter::Handle tensor;
  };

  bool rows_are(ValueId v, Symbol symbol) const {
    const Shape& shape = graph_.type(v).shape;
    return shape.rank() > 0 && shape[0] == Dim(symbol);
  }
  // Rows of a tap are tokens, or logit rows, which are all tokens here.
  bool has_token_rows(ValueId v) const {
    return rows_are(v, Symbol::kTokens) || rows_are(v, Symbol::kLogitRows);
  }
  // What is kept of a sequence; a run has one sequence, and its last call leaves the state.
  bool is_state(ValueId v) const { return rows_are(v, Symbol::kSequences); }

  std::vector<int64_t> whole_shape(ValueId v) const {
    const Shape& shape = graph_.type(v).shape;
    std::vector<int64_t> dims;
    if (!is_state(v)) dims.push_back(static_cast<int64_t>(planned_.tokens.size()));
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

  void declare_taps(const DumpOptions& options) {
    for (const lockstep::Tap& tap : list_taps(graph_, options.taps, options.inputs)) {
      if (!has_token_rows(tap.value) && !is_state(tap.value)) continue;
      TapInfo info;
      info.path = tap.path;
      info.module_class = tap.class_name;
      info.role = tap.role == lockstep::Tap::Role::kInput ? TapRole::kInput : TapRole::kOutput;
      if (!tap.argument.empty()) info.name = tap.argument;
      info.index = static_cast<int>(tap.index);
      info.call = static_cast<int>(tap.call);
      const auto known = recorded_.find(tap.value);
      if (known != recorded_.end()) {
        if (writer_ != nullptr) writer_->add_alias(run_, info, known->second.tensor);
        continue;
      }
      Recorded& recorded = add_value(tap.value, tap_key(info));
      if (writer_ != nullptr) {
        recorded.tensor =
            writer_->add_tap(run_, info, graph_.type(tap.value).dtype, whole_shape(tap.value));
      }
    }
  }

  void declare_logits() {
    const ValueId v = graph_.outputs[0].value;
    const auto known = recorded_.find(v);
    if (known != recorded_.end()) {
      if (writer_ != nullptr) writer_->alias_logits(run_, known->second.tensor);
      return;
    }
    Recorded& recorded = add_value(v, "logits");
    if (writer_ != nullptr) {
      recorded.tensor = writer_->add_logits(run_, graph_.type(v).dtype, whole_shape(v));
    }
  }

  void record(Recorded& recorded, const View& rows) {
    add_rows(recorded.stats, recorded.sum, recorded.sum_squares, rows);
    recorded.elements += rows.elements();
    if (writer_ != nullptr) writer_->write_rows(recorded.tensor, recorded.rows, rows);
    recorded.rows += rows.dim(0);
  }

  void record_state(Recorded& recorded, const View& rows) {
    View state = rows;
    --state.rank;
    std::copy_n(rows.shape.begin() + 1, state.rank, state.shape.begin());
    std::copy_n(rows.stride.begin() + 1, state.rank, state.stride.begin());
    TapStats stats;
    stats.path = recorded.stats.path;
    stats.shape = recorded.stats.shape;
    recorded = {.stats = std::move(stats), .tensor = recorded.tensor};
    record(recorded, state);
    recorded.rows = 0;
  }

  Pipeline& pipeline_;
  const Graph& graph_;
  const PlannedRun& planned_;
  DumpWriter* writer_;
  int run_ = 0;
  std::map<ValueId, Recorded> recorded_;
  std::vector<ValueId> order_;
};

DumpInfo dump_info(const Pipeline& pipeline) {
  DumpInfo info;
  info.producer = {{"name", "lockstep"}, {"version", LOCKSTEP_SDK_VERSION}};
  info.model = pipeline.model().files.folder.filename().string();
  info.architecture = pipeline.graph().architecture;
  info.config_json = pipeline.model().files.config.text();
  return info;
}

Pipeline& pipeline_of(const std::vector<Pipeline*>& pipelines, DType dtype) {
  const auto at = std::ranges::find_if(
      pipelines, [&](const Pipeline* p) { return p->graph().activation_dtype == dtype; });
  if (at == pipelines.end()) {
    throw Error(ErrorCode::kInternal, fmt::format("no pipeline for {}", dtype_name(dtype)));
  }
  return **at;
}

}  // namespace

PlannedSequence plan_prompt(DType dtype, const std::vector<int32_t>& prompt_ids, int64_t prefill,
                            int64_t chunk, int64_t max_tokens) {
  const auto n = static_cast<int64_t>(prompt_ids.size());
  if (n == 0) throw Error(ErrorCode::kInvalidArgument, "prompt ids: expected at least one");
  if (prefill < 0 || prefill > n) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--prefill: expected 0 to {} (the prompt), found {}", n, prefill));
  }
  if (chunk < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--chunk: expected 1 or more, found {}", chunk));
  }
  const int64_t at_once = prefill == 0 ? n : prefill;
  PlannedRun run;
  run.info = run_info(dtype, 0, {prompt_ids.begin(), prompt_ids.end()}, Phase::kPrefill, 0);
  run.tokens = prompt_ids;
  run.calls = chunks(at_once, chunk == 0 ? max_tokens : std::min(chunk, max_tokens));
  run.calls.insert(run.calls.end(), n - at_once, 1);
  return {dtype, {std::move(run)}};
}

std::vector<PlannedSequence> plan_like(const Recording& reference, int64_t max_tokens) {
  std::vector<PlannedSequence> sequences;
  // Prefills open sequences; a decode step joins the one whose ids it continues.
  for (const Run& run : reference.runs) {
    const std::optional<DType> dtype = dtype_from_name(run.info.dtype);
    const bool runs_here = dtype == DType::kFloat32 || dtype == DType::kBFloat16;
    if (!runs_here || run.info.phase != Phase::kPrefill || run.info.prompt_ids.empty()) continue;
    const bool known = std::ranges::any_of(sequences, [&](const PlannedSequence& s) {
      return s.dtype == *dtype && s.runs[0].info.prompt_ids == run.info.prompt_ids;
    });
    if (known) continue;
    PlannedRun planned;
    const auto prompt =
        static_cast<int>(std::ranges::count(sequences, *dtype, &PlannedSequence::dtype));
    planned.info = run_info(*dtype, prompt, run.info.prompt_ids, Phase::kPrefill, 0);
    planned.tokens.assign(run.info.prompt_ids.begin(), run.info.prompt_ids.end());
    planned.calls = chunks(static_cast<int64_t>(planned.tokens.size()), max_tokens);
    sequences.push_back({*dtype, {std::move(planned)}});
  }
  for (const Run& run : reference.runs) {
    if (run.info.phase != Phase::kDecode || run.info.prompt_ids.empty()) continue;
    const std::vector<int64_t>& ids = run.info.prompt_ids;
    for (PlannedSequence& sequence : sequences) {
      const RunInfo& last = sequence.runs.back().info;
      const bool continues =
          dtype_name(sequence.dtype) == run.info.dtype &&
          last.prompt_ids.size() + 1 == ids.size() &&
          std::equal(last.prompt_ids.begin(), last.prompt_ids.end(), ids.begin());
      if (!continues) continue;
      PlannedRun planned;
      planned.info = run_info(sequence.dtype, last.prompt, ids, Phase::kDecode, last.step + 1);
      planned.tokens = {static_cast<int32_t>(ids.back())};
      planned.calls = {1};
      sequence.runs.push_back(std::move(planned));
    }
  }
  if (sequences.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected a prefill in float32 or bfloat16, found none",
                            reference.path.string()),
                "record one with reference/record.py");
  }
  return sequences;
}

int64_t longest(const std::vector<PlannedSequence>& sequences) {
  size_t most = 0;
  for (const PlannedSequence& sequence : sequences) {
    most = std::max(most, sequence.runs.back().info.prompt_ids.size());
  }
  return static_cast<int64_t>(most);
}

std::vector<TapStats> dump(const std::vector<Pipeline*>& pipelines,
                           const std::vector<PlannedSequence>& sequences,
                           const DumpOptions& options,
                           const std::optional<std::filesystem::path>& folder) {
  std::optional<DumpWriter> writer;
  if (folder) writer.emplace(*folder, dump_info(*pipelines.front()));
  DumpWriter* const to = writer ? &*writer : nullptr;
  std::vector<std::vector<RunRecorder>> recorders;
  for (const PlannedSequence& sequence : sequences) {
    Pipeline& pipeline = pipeline_of(pipelines, sequence.dtype);
    recorders.emplace_back();
    for (const PlannedRun& run : sequence.runs) {
      recorders.back().emplace_back(pipeline, run, options, to);
    }
  }
  if (writer) {
    for (const GreedyInfo& greedy : options.greedy) writer->add_greedy(greedy);
    writer->begin();
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    Sequence sequence;
    for (RunRecorder& recorder : recorders[i]) recorder.run(sequence);
    pipeline_of(pipelines, sequences[i].dtype).release(sequence);
  }
  if (writer) writer->commit();
  return recorders.front().front().stats();
}

}  // namespace lockstep::parity
