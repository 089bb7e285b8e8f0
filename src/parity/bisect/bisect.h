// Which way of running a port differs first: every way of feeding one text, from one forward call
// to a server, against the reference's greedy text and logits and against the way before it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/target.h"
#include "parity/bisect/feed.h"
#include "parity/bisect/step_evidence.h"
#include "parity/diff.h"
#include "parity/recording.h"
#include "runtime/pipeline.h"

namespace lockstep::parity {

/// In the order they are run: each adds one thing to the one before.
enum class Stage : uint8_t {
  kTokenizer,
  kTeacherForced,
  kIncremental,
  kBatched,
  kChunked,
  kPrefixCached,
  kPreempted,
  kServed,
};
inline constexpr int kNumStages = 8;
std::string_view stage_name(Stage stage) noexcept;  // "teacher-forced"
/// What it adds to the one before, and so where to look.
std::string_view stage_adds(Stage stage) noexcept;
/// Throws kInvalidArgument naming `flag` and the stages there are.
Stage parse_stage(const std::string& flag, const std::string& name);

struct StageFinding {
  std::string probe;    // "chunks of 3", "engine", "POST /v1/completions, ids"
  std::string dtype;    // empty for text
  int prompt = -1;
  int64_t token = -1;   // index in prompt and text of the first whose logits differ
  int64_t step = -1;    // token generated there, from 0; -1 within the prompt
  std::string against;  // "the reference", "teacher-forced"
  std::string message;  // what was expected and found
  double difference = 0, bar = 0;  // relative, of that row of logits; 0 where only ids are known
  std::optional<StepEvidence> evidence;
};

struct StageResult {
  enum class Outcome : uint8_t { kNotRun, kSame, kDiffers };
  Stage stage = Stage::kTokenizer;
  Outcome outcome = Outcome::kNotRun;
  int64_t probes = 0, tokens = 0;  // compared
  int64_t ties = 0;                // other choices within the noise
  double worst = 0;                // largest difference of a row, in units of its bar
  std::vector<StageFinding> findings;
  std::vector<std::string> not_covered;
};
std::string_view stage_outcome_name(StageResult::Outcome outcome) noexcept;

struct BisectReport {
  Outcome outcome = Outcome::kUndecided;
  std::vector<StageResult> stages;
  std::vector<std::string> not_covered;
  /// The first stage that differs; nullptr: none.
  const StageResult* first() const noexcept;
};

/// A server of the OpenAI API that runs while this lives.
class RunningServer {
 public:
  virtual ~RunningServer() = default;
  virtual client::Target target() const = 0;
};

/// The model under test, as often as it is needed.
struct Subject {
  std::filesystem::path folder;
  std::function<Model(DType)> open;
  std::function<std::unique_ptr<Pipeline>(Model, const PipelineOptions&)> start;
  std::function<std::unique_ptr<RunningServer>(DType)> serve;  // empty: cannot be served
};

struct BisectOptions {
  int64_t steps = 0;                // generated tokens looked at; 0: all that are recorded
  std::optional<int> prompt;        // only this one
  std::optional<DType> dtype;       // only this one
  std::optional<Stage> only;        // this stage alone, and what it is compared with
  Stage from = Stage::kTokenizer;   // stages before it were judged elsewhere
  std::optional<client::Target> server;  // somebody else's, instead of engine and own server
};

/// A text of the reference: a prompt and what it generated greedily after it.
struct ReferenceText {
  int prompt = 0;
  std::string dtype;
  std::vector<int32_t> ids;      // prompt and generated tokens
  int64_t n_prompt = 0;
  std::vector<double> margins;   // of the generated tokens, where recorded
  bool has_choices = true;       // the generated tokens are the reference's in this dtype
  std::string prompt_text;       // where recorded
  bool is_chat = false;          // prompt_text is a user's message

  int64_t n_tokens() const { return static_cast<int64_t>(ids.size()); }
  std::span<const int32_t> prompt_ids() const {
    return std::span(ids).first(static_cast<size_t>(n_prompt));
  }
  std::span<const int32_t> generated() const {
    return std::span(ids).subspan(static_cast<size_t>(n_prompt));
  }
};

/// What a dtype's logits may differ by between sound ways of running.
struct Noise {
  double row_bar = 0;  // relative L2 of a row
  double total = 0;    // floor of all logits together, relative
  bool from_reference = false;
  /// A choice between logits that are closer than this, in a row of this root mean square, is a
  /// tie with the reference. Two logits with the noise of both sides, four deviations apart.
  double tie(double rms) const noexcept { return 4 * 1.4142135623730951 * total * rms; }
  /// What one logit of such a row may differ by between two ways of feeding.
  double logit(double rms) const noexcept { return row_bar * rms; }
};

/// What the stages share: a dtype's pipeline, texts, noise, and the text's logits at once.
struct DtypeCase {
  DType dtype = DType::kFloat32;
  std::string name;
  std::unique_ptr<Pipeline> pipeline;
  std::vector<ReferenceText> texts;
  std::vector<TextLogits> at_once;  // parallel to texts
  Noise noise;
  bool has_experts = false;
};

/// Runs the stages in order up to the first that differs, in float32 first. Without greedy text of
/// two tokens or more in the reference nothing is decided. Throws as the subject's functions do,
/// kInvalidArgument where an option asks for what the reference lacks.
BisectReport bisect(const Subject& subject, const Recording& reference,
                    const BisectOptions& options, ThreadPool& pool);

/// Whose fault the first differing stage is, told by the same stages of another, registered model.
struct Control {
  enum class Verdict : uint8_t { kEngine, kPort, kUndecided };
  Verdict verdict = Verdict::kUndecided;
  std::string why;
  BisectReport report;
};
std::string_view control_name(Control::Verdict verdict) noexcept;
/// `control` runs its own made-up text, each stage against that text fed at once: `found` must
/// have a stage that differs. A difference from the reference alone cannot be controlled so.
Control run_control(const Subject& subject, const Subject& control, const BisectReport& found,
                    ThreadPool& pool);

}  // namespace lockstep::parity
