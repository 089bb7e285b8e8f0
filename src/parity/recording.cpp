// Telling layouts apart, and the lockstep-dump reader.
#include "parity/recording.h"

#include <fmt/format.h>

#include <set>

#include "lockstep/error.h"
#include "parity/json_reader.h"
#include "parity/readers.h"
#include "tensor/safetensors.h"

namespace lockstep::parity {
namespace fs = std::filesystem;

std::string_view layout_name(Layout layout) noexcept {
  switch (layout) {
    case Layout::kDump:
      return "lockstep-dump";
    case Layout::kGolden:
      return "golden folder";
    case Layout::kNpy:
      return "npy folder";
    case Layout::kNpz:
      return "npz";
    case Layout::kSafetensors:
      return "safetensors";
  }
  return "?";
}

std::string match_key(const TapInfo& tap) {
  if (tap.args.empty()) return tap_key(tap);
  TapInfo named = tap;
  named.path += "#" + tap.args;
  named.call = 0;
  return tap_key(named);
}

namespace {

/// The safetensors files of a dump; a name is looked up in all of them.
struct Shards {
  std::vector<SafetensorsFile> files;

  View view(std::string_view name, const JsonFile& json, const std::string& where) const {
    for (const SafetensorsFile& file : files) {
      if (const TensorEntry* entry = file.find(name)) return file.view(*entry);
    }
    json.fail(where, fmt::format("tensor {} is not in the dump's files", name));
  }
};

std::vector<int64_t> shape_of(const View& view) {
  return {view.shape.begin(), view.shape.begin() + view.rank};
}

TapRole parse_role(const JsonFile& json, JsonElement tap, const std::string& where) {
  const std::string role = json.text(tap, "role", where);
  if (role == "input") return TapRole::kInput;
  if (role == "output") return TapRole::kOutput;
  json.fail(where, fmt::format("role is \"{}\", expected input or output", role));
}

/// "layer_type=sliding_attention", without what separates the parts of a tap's key.
std::string args_text(JsonElement args) {
  simdjson::dom::object object;
  if (args.get(object) != simdjson::SUCCESS) return {};
  std::map<std::string, std::string> sorted;
  for (const auto& [key, value] : object) {
    sorted.emplace(key, simdjson::minify(value));
  }
  std::string out;
  for (const auto& [key, value] : sorted) {
    if (!out.empty()) out += ',';
    out.append(key).append("=").append(value);
  }
  std::erase(out, '"');
  for (char& c : out) {
    if (c == ':' || c == '#' || c == '/') c = '_';
  }
  return out;
}

/// Keeps `args` only where they tell every call of a tap from the others.
void keep_telling_args(Run& run) {
  std::map<std::string, std::set<std::string>> seen;
  std::map<std::string, size_t> calls;
  const auto place = [](const TapInfo& info) {
    TapInfo any = info;
    any.call = 0;
    return tap_key(any);
  };
  for (const Tap& tap : run.taps) {
    const std::string key = place(tap.info);
    ++calls[key];
    if (!tap.info.args.empty()) seen[key].insert(tap.info.args);
  }
  for (Tap& tap : run.taps) {
    const std::string key = place(tap.info);
    if (calls[key] < 2 || seen[key].size() != calls[key]) tap.info.args.clear();
  }
}

Tap parse_tap(const JsonFile& json, JsonElement element, const Shards& shards,
              const std::string& run) {
  Tap tap;
  tap.info.path = json.text(element, "path", run);
  const std::string where = run + ", tap " + tap.info.path;
  tap.info.module_class = json.text_or(element, "class", "");
  tap.info.role = parse_role(json, element, where);
  if (json.optional_field(element, "name")) tap.info.name = json.text(element, "name", where);
  tap.info.index = static_cast<int>(json.integer_or(element, "index", 0, where));
  tap.info.call = static_cast<int>(json.integer_or(element, "call", 0, where));
  if (const auto args = json.optional_field(element, "args")) tap.info.args = args_text(*args);
  tap.view = shards.view(json.text(element, "tensor", where), json, where);
  tap.mapped = true;
  const auto shape = json.integers(json.field(element, "shape", where), where);
  if (shape != shape_of(tap.view)) {
    json.fail(where, fmt::format("the manifest says shape [{}], the tensor is {}",
                                 fmt::join(shape, ", "), to_string(tap.view)));
  }
  const std::string stored = json.text_or(element, "stored_dtype", "");
  if (!stored.empty() && stored != dtype_name(tap.view.dtype)) {
    json.fail(where, fmt::format("the manifest says it is stored as {}, the tensor is {}", stored,
                                 to_string(tap.view)));
  }
  return tap;
}

Run parse_run(const JsonFile& json, JsonElement element, const Shards& shards) {
  Run run;
  run.info.id = json.text(element, "id", "runs");
  const std::string where = "run " + run.info.id;
  run.info.dtype = json.text(element, "dtype", where);
  if (!dtype_from_name(run.info.dtype)) {
    json.fail(where, fmt::format("\"{}\" is not a dtype", run.info.dtype));
  }
  run.info.attention = json.text_or(element, "attention", "");
  run.info.device = json.text_or(element, "device", "");
  run.info.prompt = static_cast<int>(json.integer_or(element, "prompt", 0, where));
  run.info.prompt_ids = json.integers(json.field(element, "prompt_ids", where), where);
  const std::string phase = json.text(element, "phase", where);
  if (phase != "prefill" && phase != "decode") {
    json.fail(where, fmt::format("phase is \"{}\", expected prefill or decode", phase));
  }
  run.info.phase = phase == "prefill" ? Phase::kPrefill : Phase::kDecode;
  run.info.step = static_cast<int>(json.integer_or(element, "step", 0, where));
  if ((run.info.phase == Phase::kPrefill) != (run.info.step == 0)) {
    json.fail(where, fmt::format("a {} run with step {}", phase, run.info.step));
  }
  std::set<std::string> keys;
  for (const JsonElement tap : json.array(json.field(element, "taps", where), where)) {
    run.taps.push_back(parse_tap(json, tap, shards, where));
    if (!keys.insert(tap_key(run.taps.back().info)).second) {
      json.fail(where, tap_key(run.taps.back().info) + " is listed twice");
    }
  }
  keep_telling_args(run);
  if (json.optional_field(element, "logits")) {
    Tap logits;
    logits.info.path = "logits";
    logits.view = shards.view(json.text(element, "logits", where), json, where);
    logits.mapped = true;
    if (logits.view.rank != 2) {
      json.fail(where,
                fmt::format("logits are {}, expected [tokens, vocab]", to_string(logits.view)));
    }
    const auto n_ids = static_cast<int64_t>(run.info.prompt_ids.size());
    const int64_t wanted = run.info.phase == Phase::kPrefill ? n_ids : 1;
    if (logits.view.shape[0] > wanted) {
      json.fail(where, fmt::format("logits {} for {} tokens", to_string(logits.view), wanted));
    }
    run.first_logit_row = wanted - logits.view.shape[0];  // the last rows, where not all were kept
    run.logits = std::move(logits);
  }
  return run;
}

std::vector<GreedyInfo> parse_greedy(const JsonFile& json) {
  std::vector<GreedyInfo> out;
  const auto list = json.optional_field(json.root(), "greedy");
  if (!list) return out;
  for (const JsonElement element : json.array(*list, "greedy")) {
    GreedyInfo g;
    g.dtype = json.text_or(element, "dtype", "");
    g.attention = json.text_or(element, "attention", "");
    g.prompt = static_cast<int>(json.integer_or(element, "prompt", 0, "greedy"));
    g.tokens = json.integers(json.field(element, "tokens", "greedy"), "greedy tokens");
    if (const auto margins = json.optional_field(element, "margins")) {
      g.margins = json.numbers(*margins, "greedy margins");
    }
    out.push_back(std::move(g));
  }
  return out;
}

std::vector<PromptText> parse_prompts(const JsonFile& json) {
  std::vector<PromptText> out;
  const auto list = json.optional_field(json.root(), "prompts");
  if (!list) return out;
  for (const JsonElement element : json.array(*list, "prompts")) {
    PromptText prompt;
    prompt.prompt = static_cast<int>(json.integer(element, "prompt", "prompts"));
    const std::string kind = json.text(element, "kind", "prompts");
    if (kind != "prompt" && kind != "chat") {
      json.fail("prompts", fmt::format("kind is \"{}\", expected prompt or chat", kind));
    }
    prompt.is_chat = kind == "chat";
    prompt.text = json.text(element, "text", "prompts");
    out.push_back(std::move(prompt));
  }
  return out;
}

}  // namespace

Recording read_dump(const fs::path& folder) {
  const JsonFile json(folder / kManifestFile);
  const JsonElement root = json.root();
  Recording out;
  out.path = folder;
  out.layout = Layout::kDump;
  const std::string format = json.text(root, "format", "manifest");
  if (format != kDumpFormat) {
    json.fail("manifest", fmt::format("format is \"{}\", expected {}", format, kDumpFormat));
  }
  const int64_t version = json.integer(root, "version", "manifest");
  if (version != kDumpVersion) {
    json.fail("manifest", fmt::format("version {}, this build reads {}", version, kDumpVersion));
  }
  if (const auto producer = json.optional_field(root, "producer")) {
    simdjson::dom::object object;
    if (producer->get(object) == simdjson::SUCCESS) {
      for (const auto& [key, value] : object) {
        std::string_view text;
        if (value.get(text) == simdjson::SUCCESS) out.producer.emplace(key, text);
      }
    }
  }
  out.model = json.text_or(root, "model", "");
  out.architecture = json.text_or(root, "architecture", "");
  if (const auto config = json.optional_field(root, "config")) {
    out.config_json = simdjson::minify(*config);
    out.n_layers = config_layers(*config);
    out.has_experts = config_has_experts(*config);
    out.router.experts =
        config_count(*config, {"num_local_experts", "num_experts", "n_routed_experts"});
    out.router.chosen =
        config_count(*config, {"num_experts_per_tok", "num_experts_per_token", "moe_top_k"});
    out.router.groups = config_count(*config, {"n_group"});
    out.router.groups_chosen = config_count(*config, {"topk_group"});
  }
  const auto shards = std::make_shared<Shards>();
  for (const JsonElement file : json.array(json.field(root, "files", "manifest"), "files")) {
    std::string_view name;
    if (file.get(name) != simdjson::SUCCESS || name.find('/') != name.npos || name == "..") {
      json.fail("files", "expected names of files beside the manifest");
    }
    shards->files.push_back(SafetensorsFile::open(folder / name));
  }
  std::set<std::string> ids;
  for (const JsonElement run : json.array(json.field(root, "runs", "manifest"), "runs")) {
    out.runs.push_back(parse_run(json, run, *shards));
    if (!ids.insert(out.runs.back().info.id).second) {
      json.fail("runs", "two runs are " + out.runs.back().info.id);
    }
  }
  out.greedy = parse_greedy(json);
  out.prompts = parse_prompts(json);
  out.storage = shards;
  return out;
}

Recording read_recording(const fs::path& path) {
  std::error_code ec;
  if (!fs::exists(path, ec)) {
    throw Error(ErrorCode::kNotFound, fmt::format("{}: no such file or folder", path.string()),
                "give a dump: a folder written by `lockstep dump` or `lockstep reference`");
  }
  if (fs::is_directory(path, ec)) {
    if (fs::exists(path / kManifestFile, ec)) return read_dump(path);
    if (fs::exists(path / "expected.json", ec)) return read_golden(path);
    if (fs::exists(path / "golden" / "expected.json", ec)) return read_golden(path / "golden");
    for (const auto& entry : fs::directory_iterator(path, ec)) {
      if (entry.path().extension() == ".npy") return read_npy_folder(path);
    }
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: holds no manifest.json, expected.json or .npy file", path.string()),
        "was the recording interrupted? Record it again");
  }
  if (path.filename() == kManifestFile) return read_dump(path.parent_path());
  if (path.extension() == ".npz") return read_npz(path);
  if (path.extension() == ".safetensors") return read_plain_safetensors(path);
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("{}: expected a folder, .npz or .safetensors", path.string()));
}

}  // namespace lockstep::parity
