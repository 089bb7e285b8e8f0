// lockstep eval: the score of a model, or of a server, on a benchmark's JSONL file.
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/progress.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "eval/run.h"
#include "eval/task.h"
#include "hub/checkpoint.h"
#include "lockstep/error.h"

namespace lockstep::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kReached = 0, kMissed = 1, kNotRun = 2, kUnreachable = 3;

struct EvalOptions {
  ModelOptions model;
  std::string base_url, api_key, served_name, tokenizer;
  std::string task, data;
  eval::TaskOptions items;
  eval::RunOptions run;
  bool json = false, progress_lines = false;
};

// The model in this process, ready to be asked.
struct LocalModel {
  explicit LocalModel(const EvalOptions& options) {
    Model opened = options.model.open();
    tokenizer.emplace(text::Tokenizer::open(opened.files.folder));
    const EnginePlan plan = plan_engine(opened, {});
    const GenerationDefaults defaults =
        read_generation_defaults(opened.files.folder, opened.files.config);
    engine.emplace(options.model.start(std::move(opened), plan.pipeline), plan, defaults);
    scorer = eval::engine_scorer(*engine, *tokenizer, options.model.model);
  }
  std::optional<text::Tokenizer> tokenizer;
  std::optional<Engine> engine;
  std::unique_ptr<eval::Scorer> scorer;
};

int status_of(const eval::Task& task, const eval::Summary& summary, const EvalOptions& options) {
  if (summary.outcome == eval::Outcome::kInterrupted) return kNotRun;
  if (summary.outcome == eval::Outcome::kUnreachable) return kUnreachable;
  if (!options.run.target) return kReached;
  return summary.metrics.at(task.metric).value >= *options.run.target ? kReached : kMissed;
}

const char* verdict_of(int status, bool has_target) {
  constexpr const char* kWords[] = {"reached", "missed", "not run", "stopped: out of reach"};
  return status == kReached && !has_target ? "done" : kWords[status];
}

Json document_of(const EvalOptions& options, const eval::Task& task, const eval::Scorer& scorer,
                 const eval::Summary& summary, int status) {
  Json metrics = Json::object();
  for (const auto& [name, metric] : summary.metrics) {
    metrics[name] = {{"value", metric.value}, {"stderr", metric.standard_error}};
  }
  Json document = {{"verdict", verdict_of(status, options.run.target.has_value())},
                   {"task", task.name},
                   {"data", task.file.string()},
                   {"fingerprint", task.fingerprint},
                   {"shots", task.shots},
                   {"metric", task.metric},
                   {"chance", task.chance},
                   {"model", scorer.model()},
                   {"computed_by", scorer.version()},
                   {"items", summary.n_total},
                   {"answered", summary.n_done},
                   {"answered_before", summary.n_kept},
                   {"contexts_cut", summary.n_cut},
                   {"ties", summary.ties},
                   {"metrics", std::move(metrics)}};
  if (options.run.target) document["target"] = *options.run.target;
  if (!summary.error.empty()) document["stopped_by"] = summary.error;
  return document;
}

void print_text(const EvalOptions& options, const eval::Task& task, const eval::Scorer& scorer,
                const eval::Summary& summary, int status) {
  fmt::print(
      "{} of {}, {} shots: {} of {} items{}\n", task.name, scorer.model(), task.shots,
      summary.n_done, summary.n_total,
      summary.n_kept > 0 ? fmt::format(", {} of them by an earlier run", summary.n_kept) : "");
  for (const auto& [name, metric] : summary.metrics) {
    const bool is_target = name == task.metric;
    fmt::print(
        "  {:<12} {:.4f} +- {:.4f}{}{}\n", name, metric.value, metric.standard_error,
        is_target && options.run.target ? fmt::format("  target {}", *options.run.target) : "",
        is_target && task.chance > 0 ? fmt::format("  chance {:.4f}", task.chance) : "");
  }
  if (summary.n_cut > 0) {
    print_wrapped("  note: ", fmt::format("{} lost their beginning, to fit the model's length",
                                          counted(summary.n_cut, "context")));
  }
  if (!summary.ties.empty()) {
    constexpr size_t kShown = 12;
    const auto shown = std::span(summary.ties).first(std::min(kShown, summary.ties.size()));
    print_wrapped("  ties: ", fmt::format("{}{}", fmt::join(shown, ", "),
                                          shown.size() < summary.ties.size() ? ", ..." : ""));
  }
  fmt::print("  computed by {}; data {} ({})\n", scorer.version(), task.file.string(),
             task.fingerprint.substr(0, 12));
  if (!summary.error.empty()) fmt::print(stderr, "error: {}\n", summary.error);
  if (!summary.hint.empty()) fmt::print(stderr, "hint: {}\n", summary.hint);
  fmt::print("{}\n", verdict_of(status, options.run.target.has_value()));
  if (status == kNotRun) {
    fmt::print("next: the same command: {}\n", options.run.output.empty()
                                                   ? "with --output F it keeps what is answered"
                                                   : "it goes on where it ended");
  } else {
    fmt::print("next: lockstep verify {} --reference REF\n",
               options.model.model.empty() ? "MODEL" : options.model.model);
  }
}

// A line an item for programs, a bar for a person.
class Watcher {
 public:
  Watcher(const EvalOptions& options, const eval::Task& task)
      : lines_(options.progress_lines), metric_(task.metric), bar_(task.name, task.items.size()) {}

  void operator()(const eval::Progress& now) {
    if (!lines_) {
      bar_.update(now.n_done);
      return;
    }
    const Json line = {{"event", "progress"},
                       {"done", now.n_done},
                       {"total", now.n_total},
                       {"item", now.item},
                       {metric_.c_str(), now.metric}};
    std::cerr << line.dump() << '\n' << std::flush;
  }

 private:
  bool lines_;
  std::string metric_;
  Progress bar_;
};

int evaluate(EvalOptions options) {
  const bool is_remote = !options.base_url.empty();
  if (is_remote && options.tokenizer.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "--tokenizer: expected with --base-url, found none",
                "the model's folder or Hub id: prompts go to the server as its token ids");
  }
  const eval::Task task = eval::read_task(options.task, options.data, options.items);
  std::optional<LocalModel> local;
  std::optional<text::Tokenizer> tokenizer;
  std::unique_ptr<eval::Scorer> remote;
  if (is_remote) {
    tokenizer.emplace(text::Tokenizer::open(find_model_folder(options.tokenizer)));
    remote =
        eval::server_scorer(client::Target::at("--base-url", options.base_url, options.api_key),
                            options.served_name, *tokenizer);
  } else {
    local.emplace(options);
  }
  eval::Scorer& scorer = is_remote ? *remote : *local->scorer;
  eval::Summary summary;
  {
    Watcher watcher(options, task);
    options.run.progress = [&](const eval::Progress& now) { watcher(now); };
    summary = eval::run(task, scorer, options.run);
  }
  const int status = status_of(task, summary, options);
  if (options.json) {
    fmt::print("{}\n", document_of(options, task, scorer, summary, status)
                           .dump(-1, ' ', false, Json::error_handler_t::replace));
  } else {
    print_text(options, task, scorer, summary, status);
  }
  return status;
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command =
      add_command(app, "eval", "The score of a model, or of a server, on a benchmark's JSONL file",
                  "lockstep eval examples/storyteller --task gsm8k --data sums.jsonl --target 0.9");
  options->model.add_to(*command);
  CLI::Option* model = command->get_option("MODEL")->required(false);
  CLI::Option_group* who = command->add_option_group("Who answers");
  who->add_option(model);
  CLI::Option* url = who->add_option("--base-url", options->base_url,
                                     "a server of the OpenAI API instead of MODEL");
  who->require_option(1);
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "with --base-url: the model's folder or Hub id")
      ->needs(url);
  command->add_option("--api-key", options->api_key, "that the server wants")
      ->envname("LOCKSTEP_API_KEY")
      ->needs(url);
  command
      ->add_option("--served-model-name", options->served_name,
                   "the server's name of the model (default: its first)")
      ->needs(url);
  command->add_option("--task", options->task, "what the rows are")
      ->required()
      ->check(CLI::IsMember(eval::task_names()));
  command->add_option("--data", options->data, "JSON lines, as the benchmark has them")
      ->required()
      ->type_name("FILE");
  command->add_option("--shots", options->items.shots, "examples before each question")
      ->check(CLI::Range(0, 1000));
  command->add_option("--shots-file", options->items.shots_file,
                      "where they come from (default: the first rows of the data)");
  command->add_option("--limit", options->items.limit, "score so many rows")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command->add_option("--seed", options->items.seed, "of the order of choices (gpqa)");
  command
      ->add_option("--target", options->run.target,
                   "score to reach, 0 to 1; stops once it cannot be")
      ->check(CLI::Range(0.0, 1.0));
  command
      ->add_option("--output", options->run.output,
                   "keep answers here, and go on from those that are there")
      ->type_name("FILE");
  command->add_option("--concurrency", options->run.concurrency, "items that are asked at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command->add_flag("--progress-lines", options->progress_lines, "a JSON line an item on stderr");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return evaluate(*options); };
  });
}

}  // namespace lockstep::cli
