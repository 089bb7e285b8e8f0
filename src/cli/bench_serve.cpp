// lockstep bench serve: load on any server of the OpenAI API, or on two of them in turn.
#include <fmt/format.h>

#include <memory>
#include <numeric>

#include "base/file.h"
#include "base/progress.h"
#include "cli/bench.h"
#include "cli/server_options.h"
#include "client/load_report.h"
#include "client/workload.h"
#include "hub/checkpoint.h"
#include "lockstep/error.h"
#include "serve/server.h"
#include "text/tokenizer.h"

namespace lockstep::cli {
namespace {

using client::LevelTimes;
using client::LoadLevel;
using client::LoadServer;

struct BenchOptions {
  ServerOptions server;
  std::string compare_url, compare_api_key, slug, compare_slug, model;
  std::vector<double> rates;
  std::vector<int64_t> concurrency;
  int64_t requests = 64;
  int rounds = 0, timeout_s = 300;
  std::string prompt_tokens = "128", output_tokens = "64", route = "completions";
  std::vector<std::string> goodput;
  uint64_t seed = 1;
  double temperature = 0;
  bool may_end_early = false, json = false;
  std::string json_out, svg;
};

// Ids that are text: what a special token in a prompt does is each server's own.
std::vector<int64_t> plain_ids(const std::string& model) {
  const text::Tokenizer tokenizer = text::Tokenizer::open(find_model_folder(model));
  std::vector<int64_t> ids;
  for (int32_t id = 0; id < static_cast<int32_t>(tokenizer.id_limit()); ++id) {
    if (!tokenizer.is_special(id) && !tokenizer.decode({&id, 1}).empty()) ids.push_back(id);
  }
  return ids;
}

std::vector<LoadLevel> levels_of(const BenchOptions& options) {
  std::vector<LoadLevel> levels;
  for (const int64_t n : options.concurrency) {
    levels.push_back({LoadLevel::Kind::kClosed, static_cast<double>(n)});
  }
  for (const double rate : options.rates) levels.push_back({LoadLevel::Kind::kOpen, rate});
  if (levels.empty()) {
    for (const double n : {1.0, 4.0, 16.0}) levels.push_back({LoadLevel::Kind::kClosed, n});
  }
  return levels;
}

class BenchServe {
 public:
  explicit BenchServe(const BenchOptions& options)
      : options_(options), levels_(levels_of(options)) {
    report_.service = client::ServiceLevel::parse(options.goodput);
    workload_.prompt_tokens = client::LengthRange::parse("--prompt-tokens", options.prompt_tokens);
    workload_.output_tokens = client::LengthRange::parse("--output-tokens", options.output_tokens);
    add_server("A", options.server.target(), options.slug);
    if (!options.compare_url.empty()) {
      add_server("B",
                 client::Target::at("--compare-url", options.compare_url,
                                    api_key_or_environment(options.compare_api_key)),
                 options.compare_slug);
    }
    if (!options.model.empty()) workload_.vocabulary = plain_ids(options.model);
  }

  client::LoadReport run() {
    warm_up();
    const int n_rounds = options_.rounds > 0 ? options_.rounds : servers_.size() > 1 ? 3 : 1;
    Progress progress("measuring",
                      levels_.size() * servers_.size() * static_cast<size_t>(n_rounds));
    for (const LoadLevel& level : levels_) run_one(level, n_rounds, progress);
    progress.hide();
    report_.workload = {{"requests", options_.requests},
                        {"rounds", n_rounds},
                        {"prompt_tokens", workload_.prompt_tokens.text()},
                        {"output_tokens", workload_.output_tokens.text()},
                        {"prompts", workload_.vocabulary.empty() ? "words" : "ids"},
                        {"route", options_.route},
                        {"temperature", options_.temperature},
                        {"seed", options_.seed}};
    return std::move(report_);
  }

 private:
  void add_server(const char* label, client::Target target, const std::string& slug) {
    target.patience = std::chrono::seconds(options_.timeout_s);
    client::ApiClient api(target);
    LoadServer server{target, api.model_name(slug)};
    server.route = options_.route == "chat" ? client::Route::kChat : client::Route::kCompletions;
    server.temperature = options_.temperature;
    server.ignores_eos = !options_.may_end_early;
    servers_.push_back(std::move(server));
    report_.servers.push_back({label, target.root, servers_.back().model});
  }

  // Answers a first request each, and says how many tokens the words of this test make.
  void warm_up() {
    constexpr int64_t kWords = 64;
    for (size_t i = 0; i < servers_.size(); ++i) {
      client::WorkloadOptions first = workload_;
      first.prompt_tokens = {kWords, kWords};
      first.output_tokens = {4, 4};
      first.tokens_a_word = 1;
      const auto requests = client::make_requests(first, 1, options_.seed);
      const int64_t counted = client::learn_dialect(servers_[i], requests.front());
      // The first server's count serves for both: prompts are to be the same.
      if (i == 0 && counted > 0) {
        workload_.tokens_a_word = static_cast<double>(counted) / kWords;
      }
      report_.servers[i].ignores_eos = servers_[i].ignores_eos || options_.may_end_early;
      report_.servers[i].reports_usage = servers_[i].reports_usage;
    }
  }

  // A B A B: what drifts on this machine meets both.
  void run_one(const LoadLevel& level, int n_rounds, Progress& progress) {
    std::vector<std::vector<LevelTimes>> times(servers_.size());
    std::vector<int64_t> asked;
    client::LoadReport::Level out{level, {}, {}};
    out.results.resize(servers_.size());
    for (int round = 0; round < n_rounds; ++round) {
      // New prompts each time: a prefix cache has seen none of them.
      const uint64_t seed = options_.seed + 1000 * ++n_workloads_;
      const auto requests =
          client::make_requests(workload_, static_cast<size_t>(options_.requests), seed);
      std::vector<int64_t> of_round;
      for (const client::LoadRequest& request : requests) {
        of_round.push_back(options_.may_end_early ? 0 : request.max_tokens);
      }
      asked.insert(asked.end(), of_round.begin(), of_round.end());
      for (size_t i = 0; i < servers_.size(); ++i) {
        progress.update(n_done_++, fmt::format("{}, {}", level.label(), report_.servers[i].label));
        times[i].push_back(client::run_level(servers_[i], level, requests, seed));
        out.results[i].rounds.push_back(
            client::summarise({times[i].back()}, of_round, report_.service));
      }
    }
    for (size_t i = 0; i < servers_.size(); ++i) {
      out.results[i].all = client::summarise(times[i], asked, report_.service);
    }
    if (servers_.size() == 2) {
      out.ratios = client::ratios(out.results[0].rounds, out.results[1].rounds);
    }
    report_.levels.push_back(std::move(out));
  }

  const BenchOptions& options_;
  std::vector<LoadLevel> levels_;
  std::vector<LoadServer> servers_;
  client::WorkloadOptions workload_;
  client::LoadReport report_;
  uint64_t n_workloads_ = 0, n_done_ = 0;
};

void write_file(const std::string& file, const std::string& text) {
  AtomicFile out(file);
  out.write(text);
  out.commit();
}

int bench_serve(const BenchOptions& options) {
  serve::raise_descriptor_limit();
  const client::LoadReport report = BenchServe(options).run();
  const std::string document = client::load_json(report) + "\n";
  if (!options.json_out.empty()) write_file(options.json_out, document);
  if (!options.svg.empty()) write_file(options.svg, client::load_svg(report));
  if (options.json) {
    fmt::print("{}", document);
  } else {
    fmt::print("{}", client::load_text(report));
    fmt::print("next: lockstep bench serve --base-url {} {}\n", report.servers.front().url,
               options.svg.empty() ? "--svg load.svg" : "--rates 1,2,4");
  }
  if (report.n_ok() == 0) return 2;
  return report.n_failed() == 0 ? 0 : 1;
}

void add_load_options(CLI::App& command, BenchOptions& options) {
  const auto positive = CLI::Range(int64_t{1}, int64_t{1} << 20);
  command
      .add_option("--concurrency", options.concurrency,
                  "requests under way at once, one level each (default: 1,4,16)")
      ->delimiter(',')
      ->check(positive)
      ->type_name("N,..");
  command
      .add_option("--rates", options.rates,
                  "requests a second that arrive at random (Poisson), one level each")
      ->delimiter(',')
      ->check(CLI::Range(1e-3, 1e6))
      ->type_name("R,..");
  command.add_option("--requests", options.requests, "of each level, server and round")
      ->capture_default_str()
      ->check(positive);
  command
      .add_option("--rounds", options.rounds,
                  "how often each level is measured (default: 1; 3 with --compare-url)")
      ->check(CLI::Range(1, 1000));
  command.add_option("--prompt-tokens", options.prompt_tokens, "length, or LEAST:MOST")
      ->capture_default_str();
  command.add_option("--output-tokens", options.output_tokens, "length, or LEAST:MOST")
      ->capture_default_str();
  command
      .add_option("--prompt-model", options.model,
                  "prompts are ids of this model's vocabulary, not words")
      ->type_name("MODEL");
  command.add_option("--route", options.route, "completions or chat")
      ->capture_default_str()
      ->check(CLI::IsMember({"completions", "chat"}));
  command.add_option("--temperature", options.temperature, "0: greedy")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 2.0));
  command.add_flag("--may-end-early", options.may_end_early,
                   "answers may end before their length: ignore_eos is not sent");
  command.add_option("--seed", options.seed, "of prompts and arrivals")->capture_default_str();
  command.add_option("--timeout", options.timeout_s, "seconds without a byte: a failure")
      ->capture_default_str()
      ->check(CLI::Range(1, 86400));
}

}  // namespace

void add_bench_serve(CLI::App& bench, Action& action) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = add_command(
      bench, "serve", "Latency and throughput of a server of the OpenAI API under load",
      "lockstep bench serve --base-url http://localhost:8000 --concurrency 1,8,32 --svg load.svg\n"
      "  lockstep bench serve --port 8000 --compare-url http://localhost:8080 --rates 1,2,4 "
      "--goodput ttft:200 tpot:50");
  options->server.add_to(*command);
  command
      ->add_option("--slug", options->slug,
                   "what the server calls the model (default: the first that it lists)")
      ->type_name("S");
  command
      ->add_option("--compare-url", options->compare_url,
                   "a second server, measured in turn; ratios are of the first to it")
      ->type_name("V");
  command->add_option("--compare-api-key", options->compare_api_key, "the key that it wants")
      ->type_name("KEY");
  command->add_option("--compare-slug", options->compare_slug, "what it calls the model")
      ->type_name("S");
  add_load_options(*command, *options);
  command
      ->add_option("--goodput", options->goodput,
                   "count requests that keep ttft:MS, tpot:MS, e2el:MS")
      ->type_name("NAME:MS");
  command->add_option("--json-out", options->json_out, "write the JSON document to a file")
      ->type_name("F");
  command->add_option("--svg", options->svg, "draw latency and throughput")->type_name("F");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return bench_serve(*options); };
  });
}

}  // namespace lockstep::cli
