// The whole matrix, or a part of it, for people: figures a kind, and each miss.
//
//   lockstep_mutants [--seeds N] [--fixtures a,b] [--kinds a,b] [--tenth SEED] [--verbose]
#include <fmt/format.h>

#include <cstring>

#include "matrix.h"

namespace lockstep::mutants {
namespace {

struct Choice {
  int seeds = 1;
  std::string fixtures, kinds;
  int64_t tenth = -1;
  int magnitude = -1, seed = -1;
  bool verbose = false;
};

bool lists(const std::string& list, std::string_view word) {
  return list.empty() || ("," + list + ",").find(fmt::format(",{},", word)) != std::string::npos;
}

Choice parse(int argc, char** argv) {
  Choice choice;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--verbose") {
      choice.verbose = true;
      continue;
    }
    if (i + 1 == argc) break;
    const std::string value = argv[++i];
    if (flag == "--seeds") choice.seeds = std::stoi(value);
    if (flag == "--fixtures") choice.fixtures = value;
    if (flag == "--kinds") choice.kinds = value;
    if (flag == "--tenth") choice.tenth = std::stoi(value);
    if (flag == "--magnitude") choice.magnitude = std::stoi(value);
    if (flag == "--seed") choice.seed = std::stoi(value);
  }
  return choice;
}

std::string joined(const std::vector<std::string>& words, size_t most = 6) {
  std::string text;
  for (size_t i = 0; i < words.size() && i < most; ++i) text += (i == 0 ? "" : ", ") + words[i];
  return text + (words.size() > most ? fmt::format(" and {} more", words.size() - most) : "");
}

void print(const Outcome& outcome) {
  const char* what = !outcome.error.empty()      ? "ERROR"
                     : outcome.operator_found()  ? "found"
                     : outcome.is_under_floor    ? "floor"
                     : !outcome.innocent.empty() ? "WRONG"
                                                 : "MISSED";
  fmt::print("{:6} {}: {} (moved {:.1e}) -> {}{}{}\n", what, to_string(outcome.mutant),
             outcome.note, outcome.moved, joined(outcome.sources),
             outcome.innocent.empty() ? "" : " INNOCENT: " + joined(outcome.innocent),
             outcome.error.empty() ? "" : " " + outcome.error);
}

int run(int argc, char** argv) {
  const Choice choice = parse(argc, argv);
  std::vector<std::string> fixtures;
  for (const std::string& name : test::golden_fixtures()) {
    if (name != "storyteller" && lists(choice.fixtures, name)) fixtures.push_back(name);
  }
  std::vector<Mutant> mutants = all_mutants(fixtures, choice.seeds);
  if (choice.tenth >= 0) mutants = a_tenth(mutants, static_cast<uint64_t>(choice.tenth));
  std::erase_if(mutants, [&](const Mutant& mutant) {
    return !lists(choice.kinds, mutant.kinds[0]->id) ||
           (choice.magnitude >= 0 && mutant.magnitude != choice.magnitude) ||
           (choice.seed >= 0 && mutant.seed != static_cast<uint64_t>(choice.seed));
  });
  Matrix matrix;
  size_t n = 0, found = 0, floor = 0;
  std::set<std::string_view> kinds;
  for (const Outcome& outcome : run_all(matrix, mutants)) {
    if (!outcome.applies) continue;
    const bool passes =
        outcome.operator_found() || (outcome.is_under_floor && outcome.innocent.empty());
    if (choice.verbose || !passes) print(outcome);
    kinds.insert(outcome.mutant.kinds[0]->id);
    if (outcome.is_under_floor && outcome.error.empty()) {
      ++floor;
      continue;
    }
    ++n;
    found += outcome.operator_found();
  }
  fmt::print("{} kinds, {} mutants, operator found in {} ({:.2f} %); {} more under the floor\n",
             kinds.size(), n, found,
             n == 0 ? 0.0 : 100.0 * static_cast<double>(found) / static_cast<double>(n), floor);
  return 0;
}

}  // namespace
}  // namespace lockstep::mutants

int main(int argc, char** argv) { return lockstep::mutants::run(argc, argv); }
