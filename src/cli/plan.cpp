// lockstep plan: what a port of a model would be, for a person to veto.
#include "port/plan.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/progress.h"
#include "cli/command.h"
#include "port/load_ports.h"
#include "port/port_record.h"

namespace lockstep::cli {
namespace {

constexpr size_t kMostDonors = 5;
constexpr int kVetoed = 1, kBlocked = 2;

struct PlanFlags {
  port::PlanRequest request;
  std::vector<std::string> custom_architectures, left_out;
  std::string output_dir = ".";
  bool yes = false, json = false;
};

nlohmann::json json_of(const port::DonorReport& donor) {
  return {{"slug", donor.slug},
          {"class_name", donor.class_name},
          {"structural", donor.n_structural()},
          {"cosmetic", donor.deltas.size() - donor.n_structural()},
          {"sources_compared", donor.sources_compared},
          {"deltas", port::deltas_json(donor.deltas)}};
}

void print_json(const port::Plan& plan) {
  nlohmann::json document = {{"hf_id", plan.model},           {"class_name", plan.class_name},
                             {"registered", plan.registered}, {"blocked", plan.is_blocked()},
                             {"route", plan.route()},         {"next", plan.next()}};
  if (plan.registered.empty() && !plan.is_blocked()) {
    document["parameters"] = plan.parameters;
    document["dtype"] = plan.dtype;
    document["weight_bytes"] = plan.weight_bytes;
    document["cache_bytes"] = plan.knows_cache ? nlohmann::json(plan.cache_bytes) : nullptr;
    document["memory"] = plan.memory;
    document["devices"] = plan.devices;
    document["devices_fit"] = plan.devices_fit;
    document["tier"] = plan.tier;
    document["siblings"] = plan.siblings;
    document["compared"] = plan.compared;
    document["not_compared"] = plan.not_compared;
    document["donor"] = plan.chosen().slug;
    document["good_donor"] = plan.is_good_donor();
    document["paragraph"] = plan.paragraph();
    nlohmann::json& donors = document["donors"] = nlohmann::json::array();
    for (const port::DonorReport& donor : plan.donors) donors.push_back(json_of(donor));
  }
  fmt::print("{}\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

// `text` on one line of at most `width` bytes, cut between characters.
std::string cut(std::string text, size_t width) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  if (text.size() <= width) return text;
  size_t end = width - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0u) == 0x80u) --end;
  return text.substr(0, end) + "...";
}

void print_donors(const port::Plan& plan) {
  fmt::print("\n{:<16} {:>10} {:>9}   {}\n", "donor", "structural", "cosmetic", "compared");
  for (size_t i = 0; i < plan.donors.size(); ++i) {
    const port::DonorReport& donor = plan.donors[i];
    if (i >= kMostDonors && i != plan.donor) continue;
    const size_t n = donor.n_structural();
    fmt::print("{:<16} {:>10} {:>9}   {}\n", cut(donor.slug, 16), n, donor.deltas.size() - n,
               donor.sources_compared ? "config, headers, sources" : "config, headers");
  }
}

void print_deltas(const port::Plan& plan) {
  if (plan.chosen().deltas.empty()) {
    fmt::print("\nno deltas from {}\n", plan.chosen().slug);
    return;
  }
  fmt::print("\n{:>2} {:<10} {:<9} {:<30} {}\n", "#", "delta", "part", "where", "the reference");
  for (const port::Delta& d : plan.chosen().deltas) {
    fmt::print("{:>2} {:<10} {:<9} {:<30} {}\n", d.number, port::delta_kind_name(d.kind), d.part,
               cut(d.where.empty() ? "-" : d.where, 30), cut(d.reference, 44));
  }
}

void print_text(const port::Plan& plan) {
  if (plan.registered.empty() && !plan.is_blocked()) {
    print_wrapped("", plan.paragraph());
    print_donors(plan);
    print_deltas(plan);
    for (const std::string& reason : plan.not_compared) print_wrapped("not compared: ", reason);
    fmt::print("\n");
  }
  print_wrapped("", plan.route());
}

// Only somebody who is there can object.
bool is_vetoed(const PlanFlags& flags) {
  if (flags.yes || flags.json || isatty(STDIN_FILENO) != 1 || isatty(STDOUT_FILENO) != 1) {
    return false;
  }
  fmt::print("go on with this plan? [Y/n] ");
  std::fflush(stdout);
  std::string answer;
  std::getline(std::cin, answer);
  return !answer.empty() && (answer[0] == 'n' || answer[0] == 'N');
}

int plan_port(const PlanFlags& flags) {
  Registry registry;
  const auto say = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  for (const std::string& folder : flags.custom_architectures) {
    port::load_port(registry, folder, say);
  }
  for (const std::string& class_name : flags.left_out) registry.leave_out(class_name);
  Progress progress("planning", 0);
  uint64_t step = 0;
  const port::Plan plan = port::make_plan(
      flags.request, registry, [&](const std::string& what) { progress.update(step++, what); });
  progress.hide();
  if (flags.json) {
    print_json(plan);
  } else {
    print_text(plan);
  }
  const bool is_open = plan.registered.empty() && !plan.is_blocked();
  if (is_open) {
    if (is_vetoed(flags)) {
      fmt::print("vetoed: nothing was written\n");
      return kVetoed;
    }
    port::update_record(flags.output_dir, "plan", plan.record());
    if (!flags.json) {
      fmt::print("written: {}\n", (std::filesystem::path(flags.output_dir) / "PORT.md").string());
    }
  }
  if (!flags.json) fmt::print("next: {}\n", plan.next());
  return plan.is_blocked() ? kBlocked : 0;
}

void add_options(CLI::App& command, PlanFlags& flags) {
  port::PlanRequest& request = flags.request;
  command.add_option("MODEL", request.model, "folder in Hugging Face layout, or a Hub id")
      ->required();
  command.add_option("--tier", request.tier, "of lockstep verify (default: the deepest possible)")
      ->check(CLI::Range(1, 6));
  command.add_option("--dtype", request.dtype, "of the weights (default: as stored)")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  command.add_option("--start-from", request.start_from, "the donor (default: the nearest)")
      ->type_name("SLUG");
  command.add_option("--context", request.context, "tokens of a sequence (default 4096)");
  command.add_option("--batch", request.batch, "sequences at once (default 1)");
  command.add_option("--memory", request.memory, "of one device (default: this machine's)")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  command.add_option("--devices", request.devices, "how many (default: as many as are needed)");
  command.add_option("--python", request.python,
                     "whose transformers has the reference (else $LOCKSTEP_PYTHON, an active "
                     "environment, python3)");
  command.add_option("--output-dir", flags.output_dir, "where PORT.md is (default: here)")
      ->type_name("DIR");
  command
      .add_option("--custom-architectures", flags.custom_architectures,
                  "folder of a port, which may be a donor; may be given more than once")
      ->type_name("DIR");
  command
      .add_option("--without", flags.left_out,
                  "plan as if this class were not registered; may be given more than once")
      ->type_name("CLASS");
  command.add_flag("--yes", flags.yes, "no question on a terminal");
  command.add_flag("--json", flags.json, "one JSON document on stdout");
}

}  // namespace

void add_plan(CLI::App& app, Action& action) {
  auto flags = std::make_shared<PlanFlags>();
  CLI::App* command = add_command(app, "plan", "What a port would be: devices, type, tier, donor",
                                  "lockstep plan org/name --memory 24GB --yes");
  add_options(*command, *flags);
  command->callback([flags, &action] {
    action.json = flags->json;
    action.run = [flags] { return plan_port(*flags); };
  });
}

}  // namespace lockstep::cli
