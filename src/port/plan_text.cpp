// A plan in words: its paragraph, the routing decision, and the section of PORT.md.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>

#include "base/text.h"
#include "port/plan.h"

namespace lockstep::port {
namespace {

constexpr size_t kMostRows = 5;  // of the table of donors

std::string gigabytes(uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  return value >= 1e8 ? fmt::format("{:.1f} GB", value / 1e9)
                      : fmt::format("{:.1f} MB", value / 1e6);
}

std::string parameters_text(double n) {
  return n >= 1e8 ? fmt::format("{:.1f} billion parameters", n / 1e9)
                  : fmt::format("{:.2f} million parameters", n / 1e6);
}

const char* tier_text(int tier) {
  constexpr const char* kTiers[] = {"",
                                    "one greedy prompt",
                                    "a battery of prompts for coherence",
                                    "exact-match arithmetic",
                                    "zero-shot multiple choice",
                                    "few-shot multiple choice, with its control",
                                    "logits of every position against the reference"};
  return kTiers[tier];
}

std::string distribution(const Plan& plan) {
  const std::string cache =
      plan.knows_cache ? fmt::format("{} of cache for {} of {}", gigabytes(plan.cache_bytes),
                                     counted(static_cast<uint64_t>(plan.batch), "sequence"),
                                     counted(static_cast<uint64_t>(plan.context), "token"))
                       : "a cache of unknown size (the donor cannot be traced)";
  const std::string where =
      plan.devices == 1  ? "one device"
      : plan.has_experts ? fmt::format("{} devices, experts divided among them", plan.devices)
                         : fmt::format("{} devices, tensors divided among them", plan.devices);
  return fmt::format("Distribution: {}; {} of weights in {} and {}, against 60% of {} a device{}.",
                     where, gigabytes(plan.weight_bytes), plan.dtype, cache, gigabytes(plan.memory),
                     plan.devices_fit ? "" : ": more than these devices hold");
}

std::string quantisation(const Plan& plan) {
  if (!plan.siblings.empty()) {
    return fmt::format("Quantisation: none ({} as stored); the Hub also has {}.", plan.dtype,
                       fmt::join(plan.siblings, ", "));
  }
  return fmt::format("Quantisation: none; {}.", plan.siblings_note.empty()
                                                    ? "the Hub has no FP8, GPTQ or AWQ sibling"
                                                    : plan.siblings_note);
}

// A cell of a Markdown table; strangers' text may hold anything.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '<') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

}  // namespace

std::string Plan::paragraph() const {
  const size_t n = chosen().n_structural();
  const std::string reference =
      tier != 6 || reference_fits ? "" : ", recorded on a larger machine than this";
  return fmt::format(
      "{} ({}, {}). {} {} Validation: tier {}, {}{}. Hardware: {}. Donor: {} with {} and {} "
      "cosmetic, by {}: {}.",
      model, class_name, parameters_text(parameters), distribution(*this), quantisation(*this),
      tier, tier_text(tier), reference, hardware, chosen().slug, counted(n, "structural delta"),
      chosen().deltas.size() - n, compared,
      is_good_donor() ? "a good donor, three or fewer"
                      : "not a close donor, more than three; expect to rewrite whole classes");
}

std::string Plan::route() const {
  if (!registered.empty()) {
    return fmt::format("{} is registered ({}): no port is needed.", class_name, registered);
  }
  if (is_blocked()) {
    return fmt::format("Blocked by a wall, [{}] {}: {}", walls.front().code, walls.front().message,
                       walls.front().way_out);
  }
  return fmt::format("Scaffold {} from {} with {}.", class_name, chosen().slug,
                     counted(chosen().n_structural(), "structural delta"));
}

std::string Plan::next() const {
  if (!registered.empty()) return fmt::format("lockstep generate {} --prompt \"Hello\"", model);
  if (is_blocked()) return fmt::format("lockstep check-walls {}", model);
  return fmt::format("lockstep scaffold {} --start-from {} --output-dir .", model, chosen().slug);
}

std::string Plan::record() const {
  std::string text = cell(paragraph()) + "\n\n| donor | structural | cosmetic |\n|---|---|---|\n";
  for (size_t i = 0; i < donors.size(); ++i) {
    if (i >= kMostRows && i != donor) continue;
    const size_t n = donors[i].n_structural();
    text += fmt::format("| {} | {} | {} |\n", donors[i].slug, n, donors[i].deltas.size() - n);
  }
  text += fmt::format(
      "\nDeltas from {}, by {}.\n\n| # | kind | part | where | reference | donor | change |\n"
      "|---|---|---|---|---|---|---|\n",
      chosen().slug, compared);
  for (const Delta& d : chosen().deltas) {
    text += fmt::format("| {} | {} | {} | {} | {} | {} | {} |\n", d.number, delta_kind_name(d.kind),
                        d.part, cell(d.where), cell(d.reference), cell(d.donor), cell(d.change));
  }
  for (const std::string& reason : not_compared) {
    text += fmt::format("\nNot compared: {}\n", cell(reason));
  }
  return text + "\n" + cell(route()) + "\n";
}

}  // namespace lockstep::port
