#include "score.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep::mutants {
namespace {

std::string percent(size_t part, size_t all) {
  return all == 0 ? "-" : fmt::format("{:.1f} %", 100 * share(part, all));
}

std::string kinds_table(const Scores& scores, bool unknown) {
  std::string text = unknown
                         ? "| fault | fixtures | mutants | operator found | named |\n"
                           "| --- | --- | --- | --- | --- |\n"
                         : "| fault | row | fixtures | mutants | operator found | cause first | "
                           "undecided | named wrongly | under the floor |\n"
                           "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const auto& [kind, s] : scores.kinds) {
    if (kind->rows.empty() != unknown) continue;
    if (unknown) {
      text += fmt::format("| {} | {} | {} | {} | {} |\n", kind->id, s.fixtures.size(), s.mutants,
                          percent(s.found, s.mutants), s.misnamed);
      continue;
    }
    text += fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} | {} |\n", kind->id, kind->rows,
                        s.fixtures.size(), s.mutants, percent(s.found, s.mutants),
                        percent(s.named, s.mutants), s.undecided, s.misnamed, s.floor);
  }
  return text;
}

std::string totals(const Table& table) {
  const Score &known = table.scores.known, &unknown = table.scores.unknown;
  std::set<std::string> fixtures = known.fixtures;
  fixtures.insert(unknown.fixtures.begin(), unknown.fixtures.end());
  const auto n_kinds = std::ranges::count_if(
      table.scores.kinds, [](const auto& entry) { return !entry.first->rows.empty(); });
  std::string text = "| what | figure |\n| --- | --- |\n";
  const auto row = [&](const char* what, const std::string& figure) {
    text += fmt::format("| {} | {} |\n", what, figure);
  };
  row("kinds of fault, of the catalogue and beside it",
      fmt::format("{} and {}", n_kinds, table.scores.kinds.size() - static_cast<size_t>(n_kinds)));
  row("models", fmt::format("{}", fixtures.size()));
  row("mutants that show", fmt::format("{}", known.mutants + unknown.mutants));
  row("guilty operator found, and no other",
      fmt::format("{} of {} ({})", known.found + unknown.found, known.mutants + unknown.mutants,
                  percent(known.found + unknown.found, known.mutants + unknown.mutants)));
  row("cause, or its class, first", fmt::format("{} of {} ({})", known.named, known.mutants,
                                                percent(known.named, known.mutants)));
  row("undecided",
      fmt::format("{} ({})", known.undecided, percent(known.undecided, known.mutants)));
  row("called by a wrong name",
      fmt::format("{} ({})", known.misnamed, percent(known.misnamed, known.mutants)));
  row("faults beside the catalogue that were given a name of it",
      fmt::format("{} of {}", unknown.misnamed, unknown.mutants));
  row("under the floor, of them judged wrongly",
      fmt::format("{}, {}", known.floor + unknown.floor,
                  known.floor_failed + unknown.floor_failed));
  row("sound ports (model and type), of them alarmed",
      fmt::format("{}, {}", table.sound_values, table.false_alarms.size()));
  row("three faults at once: all found; all named",
      fmt::format("{} of {}; {} of {}", table.triples.found, table.triples.mutants,
                  table.triples.named, table.triples.mutants));
  return text;
}

}  // namespace

double share(size_t part, size_t all) {
  return all == 0 ? 1 : static_cast<double>(part) / static_cast<double>(all);
}

void Score::add(const Outcome& outcome) {
  fixtures.insert(outcome.mutant.fixture);
  if (outcome.is_under_floor && outcome.error.empty()) {
    ++floor;
    floor_failed += !outcome.innocent.empty() || !outcome.misnamed.empty();
    return;
  }
  ++mutants;
  found += outcome.operator_found();
  named += outcome.cause_named();
  misnamed += !outcome.misnamed.empty();
  undecided += outcome.misnamed.empty() && !outcome.cause_named();
}

Scores score(const std::vector<Outcome>& outcomes) {
  Scores scores;
  for (const Outcome& outcome : outcomes) {
    if (!outcome.applies) continue;
    const FaultKind* kind = outcome.mutant.kinds.front();
    auto at = std::ranges::find(scores.kinds, kind, [](const auto& entry) { return entry.first; });
    if (at == scores.kinds.end()) at = scores.kinds.insert(at, {kind, {}});
    at->second.add(outcome);
    (outcome.is_unknown() ? scores.unknown : scores.known).add(outcome);
  }
  return scores;
}

std::string to_markdown(const Table& table) {
  std::string text = fmt::format(
      "# The debugger, checked\n\n"
      "Faults are planted in the traced graph of sound ports, by seed and at three magnitudes, and "
      "`isolate` and\n`explain` judge the result without being told. These are the figures of {} "
      "at commit {}. `make\ncheck-debugger`, a part of `make test-all`, writes this page with all "
      "of them; do not edit.\n\n",
      table.extent, table.commit.empty() ? "(unknown)" : table.commit);
  text += totals(table);
  text +=
      "\nThe reference of these runs is the sound port's own recording in float32: one prompt of "
      "40 "
      "tokens, two decode\nsteps, every value and input. That the sound ports compute what "
      "transformers computes is tested elsewhere\n(`golden_test`, `isolate_test`, "
      "`families_test`).\n\n"
      "A mutant that moves no value of the whole run by more than 5e-6 is under the floor, and "
      "must "
      "pass or be found\nwhere it is. A fault's cause is right when the first of the causes named, "
      "or one that the numbers cannot tell\nfrom it, is of the row of the catalogue given here "
      "(`docs/parity.md`, or several where they are one fault seen\nfrom two sides), and nothing "
      "else is named. What is undecided is not counted as right.\n\n"
      "## Faults of the catalogue\n\n";
  text += kinds_table(table.scores, false);
  text +=
      "\n## Faults that the catalogue does not hold\n\nThey must end undecided: `named` must be "
      "0.\n\n";
  text += kinds_table(table.scores, true);
  text +=
      "\n## Again\n\n    build/release/bin/lockstep_mutants --kinds rope_theta --fixtures llama "
      "--verbose\n\nplants and judges some of them and says of each what was planted, which values "
      "were called guilty, and why.\n";
  return text;
}

}  // namespace lockstep::mutants
