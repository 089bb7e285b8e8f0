// lockstep list-keys: what a checkpoint holds, from tensor headers alone.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/glob.h"
#include "base/text.h"
#include "cli/command.h"
#include "hub/tensor_list.h"
#include "lockstep/error.h"

namespace lockstep::cli {
namespace {

struct KeysOptions {
  std::string model, prefix;
  std::vector<std::string> excluded, globs;
  size_t limit = 0;  // 0: all
  bool summary = false, json = false;
};

bool is_chosen(const KeysOptions& options, const std::string& name) {
  const auto excludes = [&](const std::string& prefix) { return name.starts_with(prefix); };
  const auto matches = [&](const std::string& glob) { return glob_match(glob, name); };
  return name.starts_with(options.prefix) &&
         std::none_of(options.excluded.begin(), options.excluded.end(), excludes) &&
         (options.globs.empty() ||
          std::any_of(options.globs.begin(), options.globs.end(), matches));
}

// Counts of what was chosen, by the types' names in the file.
struct Totals {
  std::map<std::string, size_t> tensors;
  std::map<std::string, uint64_t> parameters;
  uint64_t n_parameters = 0, n_bytes = 0;

  void add(const TensorEntry& entry) {
    const std::string dtype(dtype_safetensors_name(entry.dtype));
    const uint64_t bytes = entry.end - entry.begin, n = bytes / dtype_size(entry.dtype);
    ++tensors[dtype];
    parameters[dtype] += n;
    n_parameters += n;
    n_bytes += bytes;
  }
  /// The type of most parameters; empty without any tensor.
  std::string dominant() const {
    const auto most =
        std::max_element(parameters.begin(), parameters.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    return most == parameters.end() ? "" : most->first;
  }
};

void print_json(const KeysOptions& options, const TensorList& list,
                const std::vector<const TensorEntry*>& chosen, const Totals& totals) {
  nlohmann::json document = {{"hf_id", list.model},
                             {"sharded", list.sharded},
                             {"dtype_counts", totals.tensors},
                             {"dominant_dtype", totals.dominant()},
                             {"total_parameters", totals.n_parameters}};
  if (!options.summary) {
    nlohmann::json& tensors = document["tensors"] = nlohmann::json::array();
    for (const TensorEntry* entry : chosen) {
      tensors.push_back({{"name", entry->name},
                         {"dtype", dtype_safetensors_name(entry->dtype)},
                         {"shape", entry->shape}});
    }
  }
  fmt::print("{}\n", document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void print_text(const KeysOptions& options, const TensorList& list,
                const std::vector<const TensorEntry*>& chosen, const Totals& totals, size_t n_all) {
  if (!options.summary) {
    for (const TensorEntry* entry : chosen) {
      // Names come from a stranger; a line end in one must not make a line.
      const std::string quoted = quote_text(entry->name);
      const bool plain = quoted.size() == entry->name.size() + 2;
      fmt::print("{}\t{}\t[{}]\n", plain ? entry->name : quoted,
                 dtype_safetensors_name(entry->dtype), fmt::join(entry->shape, ", "));
    }
    if (chosen.size() < n_all) fmt::print("... and {} more\n", n_all - chosen.size());
  }
  fmt::print("{}: {} in {}, {} parameters, {} bytes\n", list.model, counted(n_all, "tensor"),
             counted(list.n_files, "file"), totals.n_parameters, totals.n_bytes);
  for (const auto& [dtype, n] : totals.tensors) {
    fmt::print("  {:<8} {:>8}, {} parameters\n", dtype, counted(n, "tensor"),
               totals.parameters.at(dtype));
  }
  fmt::print("next: lockstep {}\n", options.summary
                                        ? fmt::format("list-keys {} --limit 40", list.model)
                                        : fmt::format("graph {}", list.model));
}

int list_keys(const KeysOptions& options) {
  const TensorList list = list_tensors(options.model, HubSettings::for_model(options.model));
  std::vector<const TensorEntry*> chosen;
  Totals totals;
  size_t n_all = 0;
  for (const TensorEntry& entry : list.tensors) {
    if (!is_chosen(options, entry.name)) continue;
    totals.add(entry);
    if (options.limit == 0 || n_all < options.limit) chosen.push_back(&entry);
    ++n_all;
  }
  if (options.json) {
    print_json(options, list, chosen, totals);
  } else {
    print_text(options, list, chosen, totals, n_all);
  }
  return 0;
}

}  // namespace

void add_list_keys(CLI::App& app, Action& action) {
  auto options = std::make_shared<KeysOptions>();
  CLI::App* command =
      add_command(app, "list-keys", "Tensor names, types and shapes, without reading weights",
                  "lockstep list-keys org/name --prefix model.layers.0.");
  command->add_option("MODEL", options->model, "folder in Hugging Face layout, or a Hub id")
      ->required();
  command->add_flag("--summary", options->summary, "the totals alone");
  command->add_option("--prefix", options->prefix, "names that begin so")->type_name("P");
  command->add_option("--exclude-prefix", options->excluded, "no names that begin so")
      ->type_name("P");
  command->add_option("--match", options->globs, "names that match; may be given more than once")
      ->type_name("GLOB");
  command->add_option("--limit", options->limit, "list at most so many; the totals count all")
      ->type_name("N");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return list_keys(*options); };
  });
}

}  // namespace lockstep::cli
