// lockstep scaffold: the folder of a new port, which builds as it stands.
#include "port/scaffold.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/command.h"

namespace lockstep::cli {
namespace {

struct ScaffoldFlags {
  std::string model, output_dir;
  port::ScaffoldOptions options;
  bool full_copy = false, json = false;
};

std::vector<std::string> open_deltas(const port::Scaffolded& made) {
  std::vector<std::string> lines;
  for (const port::Delta& delta : made.report.deltas) {
    lines.push_back(fmt::format("  {:>3}  {:<10}  {:<10}  {}", delta.number,
                                port::delta_kind_name(delta.kind), delta.part, delta.change));
    constexpr size_t kColumns = 100;
    if (lines.back().size() > kColumns)
      lines.back().replace(kColumns - 3, std::string::npos, "...");
  }
  return lines;
}

void print_text(const ScaffoldFlags& flags, const port::Scaffolded& made) {
  const std::string folder = made.folder.string();
  fmt::print("{}: {}, {} {}\n", folder, made.class_name,
             flags.full_copy ? "a copy of" : "inheriting", made.report.class_name);
  fmt::print("  {}, deltas.json\n", fmt::join(made.files, ", "));
  if (!made.report.deltas.empty()) {
    fmt::print("{}, each a TODO(delta N) at the place of the change:\n",
               counted(made.report.deltas.size(), "delta"));
    for (const std::string& line : open_deltas(made)) fmt::print("{}\n", line);
  }
  if (!made.not_built.empty()) {
    fmt::print("not compiled: {}\n", made.not_built);
  } else if (!made.dry_build_fault.empty()) {
    fmt::print("compiles ({:.1f} s), and cannot be traced: {}\n", made.seconds,
               made.dry_build_fault);
  } else {
    fmt::print(
        "compiles ({:.1f} s) and can be traced: {} missing, {} of another shape, {} dropped "
        "for now\n",
        made.seconds, counted(made.audit.missing.size(), "tensor"), made.audit.mismatched.size(),
        made.audit.dropped.size());
  }
  fmt::print("next: lockstep gates {} --port-dir {}\n", flags.model, folder);
}

void print_json(const port::Scaffolded& made) {
  nlohmann::json deltas = nlohmann::json::array();
  for (const port::Delta& delta : made.report.deltas) {
    deltas.push_back({{"number", delta.number},
                      {"kind", port::delta_kind_name(delta.kind)},
                      {"part", delta.part},
                      {"change", delta.change}});
  }
  const nlohmann::json document = {{"port_dir", made.folder.string()},
                                   {"class_name", made.class_name},
                                   {"donor", made.report.slug},
                                   {"files", made.files},
                                   {"deltas", deltas},
                                   {"masked_keys", made.masked},
                                   {"compile_seconds", made.seconds},
                                   {"not_built", made.not_built},
                                   {"dry_build_fault", made.dry_build_fault},
                                   {"missing", made.audit.missing},
                                   {"mismatched", made.audit.mismatched}};
  fmt::print("{}\n", document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

int scaffold(ScaffoldFlags& flags) {
  using Form = port::ScaffoldOptions::Form;
  flags.options.output_dir = flags.output_dir;
  flags.options.form = flags.full_copy ? Form::kFullCopy : Form::kInheriting;
  const port::ModelFacts facts = port::ModelFacts::open(flags.model);
  const port::Scaffolded made = port::scaffold(facts, Registry(), flags.options);
  if (flags.json) {
    print_json(made);
  } else {
    print_text(flags, made);
  }
  return 0;
}

}  // namespace

void add_scaffold(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ScaffoldFlags>();
  CLI::App* command =
      add_command(app, "scaffold", "A new port's folder, begun from a registered architecture",
                  "lockstep scaffold org/name --start-from llama --output-dir ports");
  command->add_option("MODEL", flags->model, "folder in Hugging Face layout, or a Hub id")
      ->required();
  command->add_option("--start-from", flags->options.start_from, "the donor, as plan ranks them")
      ->type_name("SLUG")
      ->required();
  command->add_option("--output-dir", flags->output_dir, "the port becomes a folder in it")
      ->type_name("DIR")
      ->required();
  command->add_option("--slug", flags->options.slug, "its name (default: config.json's model_type)")
      ->type_name("S");
  command
      ->add_option("--arch-name", flags->options.arch_name,
                   "the reference's class (default: config.json's architectures[0])")
      ->type_name("C");
  command->add_flag("--full-copy", flags->full_copy,
                    "the donor's source, copied and renamed, instead of inheriting it");
  command->add_flag("--json", flags->json, "one JSON document on stdout");
  command->callback([flags, &action] {
    action.json = flags->json;
    action.run = [flags] { return scaffold(*flags); };
  });
}

}  // namespace lockstep::cli
