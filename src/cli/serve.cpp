// lockstep serve: the OpenAI API over one model.
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "serve/server.h"

namespace lockstep::cli {
namespace {

using Json = nlohmann::ordered_json;

struct ServeOptions {
  ModelOptions model;
  EngineOptions engine;
  serve::ServerOptions server;
  std::vector<std::string> names;
  std::string chat_template;
  std::string generation_config = "auto";
  int64_t memory_bytes = 0;
  bool no_prefix_caching = false;
  bool dry_run = false, json = false;
};

// Keys from the command line and the environment; an empty one would open to everybody.
std::vector<std::string> api_keys(const ServeOptions& options) {
  std::vector<std::string> keys = options.server.api.api_keys;
  for (const char* name : {"LOCKSTEP_API_KEY", "VLLM_API_KEY"}) {
    const char* key = std::getenv(name);
    if (key != nullptr && *key != '\0') keys.emplace_back(key);
  }
  for (const std::string& key : keys) {
    if (key.empty()) {
      throw Error(ErrorCode::kInvalidArgument, "--api-key: expected a key, found an empty one");
    }
  }
  return keys;
}

GenerationDefaults generation_defaults(const ServeOptions& options, const Model& model) {
  GenerationDefaults defaults = read_generation_defaults(model.files.folder, model.files.config);
  if (options.generation_config == "vllm") {
    defaults.params = {};
    defaults.max_new_tokens.reset();
    defaults.notices.clear();
  }
  return defaults;
}

serve::ServedModel served_model(const ServeOptions& options, const Model& model) {
  serve::ServedModel served = serve::ServedModel::open(model.files.folder, options.chat_template);
  served.root = options.model.model;
  served.names = options.names;
  if (served.names.empty()) served.names.push_back(options.model.model);
  served.aliases = {options.model.model, model.architecture->slug};
  return served;
}

// Why a request could reach another model than its sender thinks: one line each.
std::vector<std::string> collisions(const ServeOptions& options, const Model& model) {
  std::vector<std::string> found;
  const std::string class_name = model.architecture->class_name;
  const Registry built_in;
  for (const Registry::Entry& entry : built_in.entries()) {
    if (entry.architecture != model.architecture && entry.architecture->class_name == class_name) {
      found.push_back(
          fmt::format("{} is both built in and a custom architecture; the custom one "
                      "runs",
                      class_name));
    }
    for (const std::string& name : options.names) {
      if (name == entry.architecture->slug && name != model.architecture->slug) {
        found.push_back(
            fmt::format("--served-model-name {} is the slug of another architecture, "
                        "{}",
                        name, entry.architecture->class_name));
      }
    }
  }
  return found;
}

double mebibytes(uint64_t bytes) { return static_cast<double>(bytes) / (1u << 20); }

// What would run, with every default written out, and why.
class DryRun {
 public:
  DryRun(const ServeOptions& options, const Model& model, const EnginePlan& plan,
         const serve::ServedModel& served, const GenerationDefaults& defaults) {
    const std::string dtype(dtype_name(model.trace.graph.activation_dtype));
    add("model", "--model", options.model.model, model.files.folder.string());
    add("name", "--served-model-name", served.name(),
        fmt::format("also answers to {}", fmt::join(served.aliases, ", ")));
    add("dtype", "--dtype", dtype,
        options.model.dtype.empty() ? "the checkpoint's own type" : "as asked");
    add("devices", "--devices", options.model.devices, "this build runs on CPUs");
    add("length", "--max-length", std::to_string(plan.options.max_length),
        model.max_length > 0
            ? fmt::format("config.json's max_position_embeddings is {}", model.max_length)
            : "config.json says no length");
    add("batch", "--max-batch-size", std::to_string(plan.options.max_batch_size),
        fmt::format("{} rows a step", plan.options.max_batched_tokens));
    add("memory", "--cache-tokens", std::to_string(plan.options.cache_tokens),
        fmt::format("{:.1f} MiB of caches ({} bytes a token, {} bytes of state a request), "
                    "{:.1f} MiB of logits",
                    mebibytes(plan.cache_bytes), plan.cache_bytes_a_token, plan.state_bytes,
                    mebibytes(plan.logits_bytes)));
    add("template", "--chat-template", options.chat_template,
        served.chat_template.has_value()
            ? (options.chat_template.empty() ? "the model folder's" : "as asked")
            : served.chat_template_problem);
    add("address", "--host", options.server.http.host, "");
    add("address", "--port", std::to_string(options.server.http.port),
        options.server.http.port == 0 ? "any that is free" : "");
    for (const std::string& folder : options.model.custom_architectures) {
      add("port", "--custom-architectures", folder, "");
    }
    for (const std::string& notice : defaults.notices) add("default", "", "", notice);
    for (const std::string& text : collisions(options, model)) add("collision", "", "", text);
  }

  void print(bool json) const {
    if (json) {
      const Json document = {{"command", command_}, {"reasons", reasons_}};
      fmt::print("{}\n", document.dump(-1, ' ', false, Json::error_handler_t::replace));
      return;
    }
    for (const Json& reason : reasons_) {
      fmt::print("{:<10} {:<24} {}\n", reason["about"].get<std::string>(),
                 reason["value"].get<std::string>(), reason["why"].get<std::string>());
    }
    fmt::print("next: {}\n", command_);
  }

 private:
  static std::string quoted(const std::string& text) {
    const bool plain = text.find_first_not_of(
                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                           "0123456789._-/:@,+=") == text.npos;
    if (plain && !text.empty()) return text;
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
  }
  void add(const char* about, const std::string& flag, const std::string& value,
           const std::string& why) {
    if (!flag.empty() && !value.empty()) command_ += fmt::format(" {} {}", flag, quoted(value));
    reasons_.push_back({{"about", about}, {"value", value}, {"why", why}});
  }

  std::string command_ = "lockstep serve";
  Json reasons_ = Json::array();
};

int serve_model(ServeOptions options) {
  options.server.api.api_keys = api_keys(options);
  options.engine.prefix_caching = !options.no_prefix_caching;
  Model model = options.model.open();
  const EnginePlan plan =
      plan_engine(model, options.engine, static_cast<uint64_t>(options.memory_bytes));
  const GenerationDefaults defaults = generation_defaults(options, model);
  serve::ServedModel served = served_model(options, model);
  if (options.dry_run) {
    DryRun(options, model, plan, served, defaults).print(options.json);
    return 0;
  }
  for (const std::string& text : collisions(options, model)) log_warn(text);
  for (const std::string& notice : defaults.notices) log_info("default: " + notice);
  if (!served.chat_template.has_value()) log_info(served.chat_template_problem);
  // From here on there are threads that stay.
  serve::block_signals();
  serve::raise_descriptor_limit();
  auto engine = std::make_unique<Engine>(options.model.start(std::move(model), plan.pipeline), plan,
                                         defaults);
  serve::Server server(std::move(served), std::move(engine), options.server);
  fmt::print("Server ready on {}\n", server.url());
  std::fflush(stdout);
  serve::run_until_signal(server);
  return 0;
}

void add_engine_options(CLI::App& command, ServeOptions& options) {
  const auto positive = CLI::Range(int64_t{1}, int64_t{1} << 32);
  EngineOptions& engine = options.engine;
  command.add_option("--max-batch-size", engine.max_batch_size, "requests that run at once")
      ->capture_default_str()
      ->check(positive);
  command.add_option("--max-batched-tokens", engine.max_batched_tokens, "tokens of one step")
      ->capture_default_str()
      ->check(positive);
  command
      .add_option("--max-length", engine.max_length,
                  "tokens of prompt and answer together (default: the model's)")
      ->check(positive);
  command
      .add_option("--cache-tokens", engine.cache_tokens,
                  "tokens the caches hold (default: by memory)")
      ->check(positive);
  command
      .add_option("--memory", options.memory_bytes, "bytes to plan for (default: the machine's)")
      ->type_name("BYTES")
      ->check(positive);
  command.add_option("--max-waiting", engine.max_waiting, "requests that may wait; more get 429")
      ->capture_default_str()
      ->check(positive);
  command.add_option("--max-logprobs", engine.max_logprobs, "that a request may ask for; -1: all")
      ->capture_default_str();
  command.add_flag("--no-enable-prefix-caching", options.no_prefix_caching,
                   "compute every prompt whole");
  command
      .add_option("--generation-config", options.generation_config,
                  "auto: defaults from generation_config.json; vllm: none")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "vllm"}));
}

void add_server_options(CLI::App& command, ServeOptions& options) {
  serve::ServerOptions& server = options.server;
  command.add_option("--host", server.http.host, "address to listen on")->capture_default_str();
  command.add_option("--port", server.http.port, "port; 0: any that is free, which is printed")
      ->capture_default_str();
  command
      .add_option("--api-key", server.api.api_keys,
                  "key that clients send; may be given more than once; also LOCKSTEP_API_KEY")
      ->type_name("KEY");
  command
      .add_option("--served-model-name", options.names,
                  "what the model is called; id and slug are accepted as well")
      ->type_name("NAME");
  command
      .add_option("--chat-template", options.chat_template,
                  "file, or a template's text, instead of the model's")
      ->type_name("T");
  command.add_option("--pooling", server.api.pooling, "of embeddings: last, mean or cls")
      ->capture_default_str()
      ->check(CLI::IsMember({"last", "mean", "cls"}));
  command.add_flag("--enable-prompt-tokens-details", server.api.enable_prompt_tokens_details,
                   "usage says how many prompt tokens were cached");
  command.add_flag("--dry-run", options.dry_run, "print the whole command and why; serve nothing");
  command.add_flag("--json", options.json, "with --dry-run: one JSON document on stdout");
}

}  // namespace

void add_serve(CLI::App& app, Action& action) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = add_command(app, "serve", "The OpenAI API over HTTP, and a page to chat",
                                  "lockstep serve --model examples/storyteller --port 8000");
  options->model.add_to(*command, "--model,MODEL");
  add_engine_options(*command, *options);
  add_server_options(*command, *options);
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return serve_model(*options); };
  });
}

}  // namespace lockstep::cli
