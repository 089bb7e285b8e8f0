#include "port/gates.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "graph/trace.h"
#include "lockstep/error.h"
#include "port/checkpoint_checks.h"
#include "port/key_patterns.h"
#include "port/loaded_port.h"
#include "port/model_facts.h"
#include "port/port_state.h"
#include "port/source_text.h"
#include "port/walls.h"
#include "runtime/pipeline.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

using Status = Gate::Status;
constexpr size_t kShown = 8;

// What a network or the user did is no answer about the model.
bool is_finding(const Error& error) {
  return error.code() != ErrorCode::kUnavailable && error.code() != ErrorCode::kCancelled &&
         error.code() != ErrorCode::kResourceExhausted && error.code() != ErrorCode::kInternal;
}

std::string text_of(const Error& error) {
  return error.hint().empty() ? error.message() : error.message() + "\n" + error.hint();
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::string lines_of(const std::vector<std::string>& lines) {
  return fmt::format("{}", fmt::join(lines, "\n"));
}

// Runs the gates in order of what depends on what; run() puts them in order of the report.
class Gates {
 public:
  explicit Gates(const GateOptions& options)
      : options_(options),
        port_(PortFolder::open(options.port_dir)),
        folder_(find_model_folder(options.model)),
        config_(ConfigFile::load(folder_ / "config.json")) {
    run_.report.model = options.model;
    run_.report.port_dir = options.port_dir.string();
    run_.report.phase = options.phase;
    run_.port_hash = port_.content_hash();
    const fs::path deltas = port_.folder / "deltas.json";
    if (fs::exists(deltas)) run_.donor = read_deltas(deltas);
    read_sources();
  }

  GateRun run() {
    open_facts();
    run_.dtype = dtype_name(facts_ ? run_dtype() : options_.dtype.value_or(DType::kFloat32));
    check_import();
    check_dry_build();
    check_walls();
    check_checkpoint_meta();
    check_arch_name();
    check_encoding();
    check_config_keys();
    check_deltas();
    check_keys();
    check_weights_format();
    check_docstrings();
    for (const char* name :
         {"walls", "checkpoint_meta", "arch_name", "encoding", "config_keys", "deltas", "import",
          "dry_build", "keys", "weights_format", "docstrings"}) {
      run_.report.gates.push_back(std::move(gates_.at(name)));
    }
    return std::move(run_);
  }

 private:
  void put(const char* name, Status status, std::string detail, std::string next = "") {
    gates_[name] = {name, status, std::move(detail), std::move(next)};
  }
  bool failed(const char* name) const {
    const Status status = gates_.at(name).status;
    return status == Status::kFail || status == Status::kSkip;
  }
  // True when `needed` did not hold: `name` is skipped.
  bool skip_without(const char* name, const char* needed) {
    if (!failed(needed)) return false;
    put(name, Status::kSkip, fmt::format("needs {}", needed));
    return true;
  }
  std::string arch_file() const { return (options_.port_dir / "arch.cpp").string(); }

  void read_sources() {
    for (const fs::path& source : port_.sources) {
      const std::string name = source.lexically_relative(port_.folder).string();
      const std::string text = read_text_file(source);
      std::vector<DeltaNote> notes = find_delta_notes(text, name);
      notes_.insert(notes_.end(), notes.begin(), notes.end());
      find_key_notes(text, name);
    }
  }

  // "Key NAME: why", for keys of config.json that the port rightly leaves unread.
  void find_key_notes(const std::string& text, const std::string& file) {
    for (const Prose& comment : read_source(text).comments) {
      if (!comment.text.starts_with("Key ")) continue;
      const size_t colon = comment.text.find(": ");
      if (colon == std::string::npos || comment.text.size() < colon + 5) continue;
      run_.key_notes.push_back({DeltaNote::Kind::kNotApplicable, 0,
                                comment.text.substr(4, colon - 4), comment.text.substr(colon + 2),
                                fmt::format("{}:{}", file, comment.line_at(0))});
    }
  }

  void open_facts() {
    try {
      facts_ = ModelFacts::open(options_.model);
      run_.class_name = facts_->class_name;
      run_.model_type = facts_->model_type;
      run_.model_hash = model_hash(facts_->config, facts_->tensors.tensors);
    } catch (const Error& error) {
      if (!is_finding(error)) throw;
      headers_error_ = error;
    }
  }

  void check_import() {
    try {
      loaded_ = load_architecture(port_);
    } catch (const Error& error) {
      if (!is_finding(error)) throw;
      put("import", Status::kFail, text_of(error),
          fmt::format("lockstep build {}", options_.port_dir.string()));
      return;
    }
    run_.slug = loaded_->architecture->slug;
    if (!options_.slug.empty() && options_.slug != run_.slug) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("--slug: {} registers {}, not {}", options_.port_dir.string(),
                              loaded_->architecture->slug, options_.slug),
                  "leave --slug out, or name the folder of that port");
    }
    const BuiltPort& built = loaded_->built;
    const std::string how =
        built.was_built ? fmt::format("built in {:.1f} s", built.seconds) : "built before";
    const std::vector<std::string> messages = split_lines(built.messages);
    const auto warnings =
        static_cast<size_t>(std::ranges::count_if(messages, [](const std::string& line) {
          return line.find("warning:") != std::string::npos;
        }));
    put("import", Status::kPass,
        fmt::format("{}, loads, registers {}, SDK {}{}", how, loaded_->architecture->class_name,
                    LOCKSTEP_SDK_VERSION,
                    warnings == 0 ? "" : fmt::format("; {}", counted(warnings, "warning"))));
  }

  void check_dry_build() {
    if (skip_without("dry_build", "import")) return;
    if (!facts_) {
      put("dry_build", Status::kSkip, "needs checkpoint_meta");
      return;
    }
    try {
      const Checkpoint headers = facts_->headers();
      const DType dtype = run_dtype();
      // A configuration of its own: which keys were read is the port's doing alone.
      trace_ = trace(*loaded_->architecture, config_, headers, dtype);
      put("dry_build", Status::kPass,
          fmt::format("{} nodes, {} module calls, {} weights, {} caches, {} between modules",
                      trace_->graph.nodes.size(), trace_->graph.calls.size(),
                      trace_->graph.parameters.size(), trace_->graph.caches.size(),
                      dtype_name(dtype)));
    } catch (const Error& error) {
      if (!is_finding(error)) throw;
      put("dry_build", Status::kFail, text_of(error),
          fmt::format("lockstep graph {} --custom-architectures {}", options_.model,
                      options_.port_dir.string()));
    }
  }

  void check_walls() {
    if (!facts_) {
      put("walls", Status::kSkip, "needs checkpoint_meta");
      return;
    }
    std::vector<std::string> lines;
    bool blocks = false;
    for (const Wall& wall : find_walls(*facts_, Registry())) {
      const bool is_block = wall.level == Wall::Level::kBlock;
      blocks = blocks || is_block;
      lines.push_back(fmt::format("{} [{}] {} ({})", is_block ? "BLOCK" : "WARN", wall.code,
                                  wall.message, wall.evidence));
    }
    put("walls",
        blocks          ? Status::kFail
        : lines.empty() ? Status::kPass
                        : Status::kWarn,
        lines.empty() ? "none" : lines_of(lines),
        lines.empty() ? "" : fmt::format("lockstep check-walls {}", options_.model));
  }

  void check_checkpoint_meta() {
    if (!facts_) {
      put("checkpoint_meta", Status::kFail, text_of(*headers_error_),
          fmt::format("lockstep list-keys {} --summary", options_.model));
      return;
    }
    const CheckpointFacts checked = check_checkpoint(*facts_);
    run_.checkpoint = checked.summary;
    std::vector<std::string> lines = {checked.summary};
    lines.insert(lines.end(), checked.faults.begin(), checked.faults.end());
    lines.insert(lines.end(), checked.warnings.begin(), checked.warnings.end());
    put("checkpoint_meta",
        !checked.faults.empty()     ? Status::kFail
        : !checked.warnings.empty() ? Status::kWarn
                                    : Status::kPass,
        lines_of(lines),
        lines.size() == 1 ? "" : fmt::format("lockstep list-keys {}", options_.model));
  }

  void check_arch_name() {
    if (skip_without("arch_name", "import")) return;
    const std::string found = loaded_->architecture->class_name;
    std::string expected;
    if (config_.kind("architectures") == ConfigFile::Kind::kArray &&
        config_.length("architectures") > 0 &&
        config_.kind("architectures.0") == ConfigFile::Kind::kString) {
      expected = config_.get_string("architectures.0");
    }
    const std::string next = fmt::format("the class in LOCKSTEP_ARCHITECTURE of {}", arch_file());
    if (expected.empty()) {
      put("arch_name", Status::kFail,
          fmt::format("config.json: architectures: expected a list with a class name; the port "
                      "registers {}",
                      found),
          "name the class in config.json's architectures");
    } else if (found != expected) {
      put("arch_name", Status::kFail,
          fmt::format("the port registers {}, config.json's architectures[0] is {}", found,
                      expected),
          next);
    } else {
      put("arch_name", Status::kPass, fmt::format("{}, as config.json", found));
    }
  }

  std::string config_dtype() const {
    for (const char* key : {"dtype", "text_config.dtype"}) {
      if (config_.kind(key) == ConfigFile::Kind::kString) return config_.get_string(key);
    }
    return "";
  }

  // As Model::open chooses it.
  DType run_dtype() const {
    if (options_.dtype) return *options_.dtype;
    const std::string named = config_dtype();
    const bool is_bfloat16 =
        named.empty() ? dominant_dtype(facts_->tensors) == DType::kBFloat16 : named == "bfloat16";
    return is_bfloat16 ? DType::kBFloat16 : DType::kFloat32;
  }

  void check_encoding() {
    if (!facts_) {
      put("encoding", Status::kSkip, "needs checkpoint_meta");
      return;
    }
    const std::string stored(dtype_name(dominant_dtype(facts_->tensors)));
    const std::string named = config_dtype();
    const std::string runs(dtype_name(run_dtype()));
    std::vector<std::string> lines;
    if (!named.empty() && named != stored) {
      lines.push_back(fmt::format("config.json says {}, most weights are {}", named, stored));
    }
    if (options_.dtype && runs != stored && !(stored == "float16" && runs == "float32")) {
      lines.push_back(fmt::format("--dtype {}: most weights are {}", runs, stored));
    }
    if (lines.empty()) {
      put("encoding", Status::kPass,
          fmt::format("weights are {}{}; runs in {}", stored,
                      named.empty() ? ", config.json has no dtype" : ", as config.json", runs));
      return;
    }
    put("encoding", Status::kWarn, lines_of(lines),
        fmt::format("verify in both: lockstep reference {} --dtype float32 --dtype bfloat16",
                    options_.model));
  }

  void check_config_keys() {
    if (skip_without("config_keys", "dry_build")) return;
    // The runtime reads it, whatever the port (Model::open).
    config_.kind("max_position_embeddings");
    const std::vector<std::string> unread = config_.unread();
    const std::set<std::string> left(unread.begin(), unread.end());
    run_.unread_keys = unread;
    const ConfigFile untouched = ConfigFile::load(folder_ / "config.json");
    for (const std::string& key : untouched.unread()) {
      if (!left.contains(key)) run_.read_keys.push_back(key);
    }
    std::vector<std::string> unexplained;
    for (const std::string& key : unread) {
      if (std::ranges::find(run_.key_notes, key, &DeltaNote::place) == run_.key_notes.end()) {
        unexplained.push_back(key);
      }
    }
    if (!unexplained.empty()) {
      put("config_keys", Status::kWarn,
          fmt::format("read by nobody: {}", fmt::join(unexplained, ", ")),
          "read each in the port, or say why not in a comment of a source: Key NAME: why");
      return;
    }
    put("config_keys", Status::kPass,
        fmt::format(
            "{} read{}", counted(run_.read_keys.size(), "key"),
            unread.empty() ? "" : fmt::format(", {} left out for a reason", unread.size())));
  }

  DeltaEvidence delta_evidence() const {
    DeltaEvidence evidence;
    const ConfigFile untouched = ConfigFile::load(folder_ / "config.json");
    for (const std::string& key : untouched.unread()) evidence.config_keys.insert(key);
    // Keys that never reach the computation, and members of objects, are keys as well.
    for (const DeltaNote& note : notes_) {
      const size_t colon = note.place.find(':');
      if (!note.place.starts_with("config.json:")) continue;
      const size_t begin = note.place.find_first_not_of(' ', colon + 1);
      if (begin == std::string::npos) continue;
      const std::string key = note.place.substr(begin);
      if (untouched.kind(key) != ConfigFile::Kind::kAbsent) evidence.config_keys.insert(key);
    }
    evidence.unread_keys.insert(run_.unread_keys.begin(), run_.unread_keys.end());
    if (facts_) evidence.tensors = facts_->tensors.tensors;
    return evidence;
  }

  void check_deltas() {
    const DonorReport none;
    run_.deltas = judge_deltas(run_.donor ? *run_.donor : none, notes_, delta_evidence());
    std::vector<std::string> open;
    std::map<DeltaState::Status, size_t> n;
    for (const DeltaState& state : run_.deltas) {
      ++n[state.status];
      if (state.status == DeltaState::Status::kOpen) open.push_back(open_line(state));
    }
    const std::string settled =
        fmt::format("{} done, {} not applicable, {} by config.json", n[DeltaState::Status::kDone],
                    n[DeltaState::Status::kNotApplicable], n[DeltaState::Status::kConfigured]);
    if (!open.empty()) {
      const std::string first = fmt::format("{}", first_open()->number);
      put("deltas", Status::kFail,
          fmt::format("{} open ({})\n{}", open.size(), settled, lines_of(open)),
          fmt::format("implement delta {}, then replace its TODO by a comment: Delta {} "
                      "(modeling_x.py:LINE): what was done, or Delta {}: N/A (...): why",
                      first, first, first));
    } else if (!run_.donor) {
      put("deltas", Status::kWarn, "no deltas.json: nothing says how the model differs from others",
          fmt::format("lockstep plan {}", options_.model));
    } else {
      put("deltas", Status::kPass,
          fmt::format("{} from {}: {}", counted(run_.deltas.size(), "delta"), run_.donor->slug,
                      settled));
    }
  }

  const DeltaState* first_open() const {
    return &*std::ranges::find(run_.deltas, DeltaState::Status::kOpen, &DeltaState::status);
  }

  std::string open_line(const DeltaState& state) const {
    std::string line = fmt::format("delta {}", state.number);
    if (run_.donor) {
      const auto& deltas = run_.donor->deltas;
      const auto delta = std::ranges::find(deltas, state.number, &Delta::number);
      if (delta != deltas.end()) line += fmt::format(" {}: {}", delta->part, delta->change);
      if (delta != deltas.end() && !delta->where.empty())
        line += fmt::format(" ({})", delta->where);
    }
    return fmt::format("{}; {}{}", line, state.why,
                       state.at.empty() ? "" : fmt::format(" in {}", state.at));
  }

  void check_keys() {
    if (skip_without("keys", "dry_build")) return;
    const Audit& audit = trace_->audit;
    std::vector<std::string> lines, missing, open_drops;
    for (const std::string& line : audit.missing) missing.push_back(line.substr(0, line.find(' ')));
    for (const Audit::Dropped& drop : audit.dropped) {
      if (drop.reason.find("TODO(delta") != std::string::npos) open_drops.push_back(drop.stored);
    }
    append(lines, "needed, not supplied", missing);
    append(lines, "supplied, not used", audit.surplus);
    append(lines, "dropped for a delta that is to do", open_drops);
    if (!audit.mismatched.empty()) {
      lines.push_back(fmt::format("wrong shape or dtype ({}):", audit.mismatched.size()));
      for (size_t i = 0; i < std::min(kShown, audit.mismatched.size()); ++i) {
        lines.push_back("  " + audit.mismatched[i]);
      }
    }
    if (!lines.empty()) {
      put("keys", Status::kFail, lines_of(lines),
          fmt::format("lockstep list-keys {} --match PATTERN, and the module or weight adapter of "
                      "that name in {}",
                      options_.model, options_.port_dir.string()));
      return;
    }
    put("keys", Status::kPass, keys_summary());
  }

  static void append(std::vector<std::string>& lines, const char* title,
                     const std::vector<std::string>& names) {
    if (names.empty()) return;
    lines.push_back(fmt::format("{} ({}):", title, names.size()));
    for (const std::string& line : pattern_lines(names, kShown)) lines.push_back("  " + line);
  }

  std::string keys_summary() const {
    const Audit& audit = trace_->audit;
    std::string text =
        fmt::format("{} needed and supplied",
                    counted(trace_->graph.parameters.size() - audit.ties.size(), "weight"));
    std::map<std::string, size_t> dropped;
    for (const Audit::Dropped& drop : audit.dropped) ++dropped[drop.reason];
    for (const auto& [reason, n] : dropped) text += fmt::format("; {} dropped: {}", n, reason);
    for (const Audit::Tie& tie : audit.ties) {
      text += fmt::format("; {} is tied to {}", tie.path, tie.source);
    }
    return text;
  }

  void check_weights_format() {
    std::vector<std::string> others;
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_, ignored)) {
      const std::string extension = entry.path().extension().string();
      if (extension == ".bin" || extension == ".pth" || extension == ".pt" ||
          extension == ".gguf" || extension == ".h5" || extension == ".msgpack") {
        others.push_back(entry.path().filename().string());
      }
    }
    std::ranges::sort(others);
    if (!facts_) {
      const bool is_format = headers_error_->code() == ErrorCode::kUnimplemented || !others.empty();
      put("weights_format", is_format ? Status::kFail : Status::kSkip,
          is_format ? fmt::format("expected safetensors, found {}",
                                  others.empty() ? headers_error_->message()
                                                 : fmt::format("{}", fmt::join(others, ", ")))
                    : "needs checkpoint_meta",
          is_format ? "convert the weights to safetensors, or look for a repository that has them"
                    : "");
      return;
    }
    put("weights_format", Status::kPass,
        fmt::format("safetensors, {}{}", counted(facts_->tensors.n_files, "file"),
                    others.empty() ? "" : fmt::format("; not read: {}", fmt::join(others, ", "))));
  }

  void check_docstrings() {
    if (skip_without("docstrings", "dry_build")) return;
    run_.audit = audit({port_, config_, *trace_, run_.donor ? &*run_.donor : nullptr});
    std::vector<std::string> lines = {run_.audit->summary()};
    size_t n_bad = 0;
    for (const Claim& claim : run_.audit->claims) {
      if (claim.verdict == Claim::Verdict::kOk || ++n_bad > kShown) continue;
      lines.push_back(fmt::format("{}:{}: {}: {}: {}", claim.file, claim.line,
                                  verdict_name(claim.verdict), quote_text(claim.words),
                                  claim.evidence));
    }
    if (n_bad > kShown) lines.push_back(fmt::format("... and {} more", n_bad - kShown));
    put("docstrings", n_bad == 0 ? Status::kPass : Status::kFail, lines_of(lines),
        n_bad == 0 ? "" : fmt::format("lockstep audit {}", options_.port_dir.string()));
  }

  const GateOptions& options_;
  PortFolder port_;
  fs::path folder_;
  ConfigFile config_;
  std::optional<ModelFacts> facts_;
  std::optional<Error> headers_error_;
  std::optional<LoadedPort> loaded_;
  std::optional<Trace> trace_;
  std::vector<DeltaNote> notes_;
  std::map<std::string, Gate> gates_;
  GateRun run_;
};

}  // namespace

std::string_view status_name(Gate::Status status) {
  constexpr std::string_view kNames[] = {"PASS", "FAIL", "WARN", "SKIP"};
  return kNames[static_cast<size_t>(status)];
}

Gate::Status GateReport::overall() const {
  const auto any = [&](Status status) {
    return std::ranges::find(gates, status, &Gate::status) != gates.end();
  };
  return any(Status::kFail) ? Status::kFail : any(Status::kWarn) ? Status::kWarn : Status::kPass;
}

const Gate* GateReport::first_failing() const {
  const auto at = std::ranges::find(gates, Status::kFail, &Gate::status);
  return at == gates.end() ? nullptr : &*at;
}

std::string GateReport::json() const {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Gate& gate : gates) {
    list.push_back(
        {{"gate", gate.name},
         {"status", status_name(gate.status)},
         {"detail", gate.next.empty() ? gate.detail : gate.detail + "\nnext: " + gate.next}});
  }
  nlohmann::ordered_json document = {{"hf_id", model},
                                     {"port_dir", port_dir},
                                     {"phase", phase},
                                     {"overall", status_name(overall())},
                                     {"first_failing_gate", nullptr},
                                     {"gates", list}};
  if (const Gate* first = first_failing()) document["first_failing_gate"] = first->name;
  return document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

GateRun run_gates(const GateOptions& options) { return Gates(options).run(); }

}  // namespace lockstep::port
