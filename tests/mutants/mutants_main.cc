// The whole matrix, or a part of it, for people: each miss with what was planted, and the figures.
//
//   lockstep_mutants [--fixtures a,b] [--kinds a,b] [--magnitude N] [--seed N] [--seeds N]
//                    [--tenth SEED] [--triples N] [--table FILE] [--commit HASH] [--verbose]
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>

#include "score.h"

namespace lockstep::mutants {
namespace {

struct Choice {
  std::string fixtures, kinds, table, commit;
  int seeds = 1, magnitude = -1, seed = -1, tenth = -1, triples = 0;
  bool verbose = false;
};

bool lists(const std::string& list, std::string_view word) {
  return list.empty() || ("," + list + ",").find(fmt::format(",{},", word)) != std::string::npos;
}

Choice parse(int argc, char** argv) {
  Choice choice;
  const std::map<std::string_view, std::string*> texts = {{"--fixtures", &choice.fixtures},
                                                          {"--kinds", &choice.kinds},
                                                          {"--table", &choice.table},
                                                          {"--commit", &choice.commit}};
  const std::map<std::string_view, int*> numbers = {{"--seeds", &choice.seeds},
                                                    {"--magnitude", &choice.magnitude},
                                                    {"--seed", &choice.seed},
                                                    {"--tenth", &choice.tenth},
                                                    {"--triples", &choice.triples}};
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    const bool has_value = i + 1 < argc;
    if (flag == "--verbose") {
      choice.verbose = true;
    } else if (const auto text = texts.find(flag); text != texts.end() && has_value) {
      *text->second = argv[++i];
    } else if (const auto number = numbers.find(flag); number != numbers.end() && has_value) {
      *number->second = std::stoi(argv[++i]);
    } else {
      fmt::print(stderr,
                 "usage: lockstep_mutants [--fixtures a,b] [--kinds a,b] [--magnitude 0..2] "
                 "[--seed N]\n  [--seeds N] [--tenth SEED] [--triples N] [--table F --commit C] "
                 "[--verbose]\n");
      std::exit(2);
    }
  }
  return choice;
}

std::string joined(const std::vector<std::string>& words, size_t most = 6) {
  std::string text;
  for (size_t i = 0; i < words.size() && i < most; ++i) text += (i == 0 ? "" : ", ") + words[i];
  return text + (words.size() > most ? fmt::format(" and {} more", words.size() - most) : "");
}

void print(const Outcome& outcome) {
  const char* where = !outcome.error.empty()      ? "ERROR"
                      : outcome.operator_found()  ? "found"
                      : outcome.is_under_floor    ? "floor"
                      : !outcome.innocent.empty() ? "WRONG"
                                                  : "MISSED";
  const char* why = !outcome.misnamed.empty()  ? "MISNAMED"
                    : outcome.named.empty()    ? "-"
                    : !outcome.unnamed.empty() ? "UNNAMED"
                    : outcome.is_unknown()     ? "undecided"
                                               : "named";
  fmt::print("{:6} {:9} {}: {} (moved {:.1e}) -> {}{}{}\n", where, why, to_string(outcome.mutant),
             outcome.note, outcome.moved, joined(outcome.sources),
             outcome.innocent.empty() ? "" : " INNOCENT: " + joined(outcome.innocent),
             outcome.error.empty() ? "" : " " + outcome.error);
  for (const Named& named : outcome.named) {
    fmt::print("         {}: {} {}\n", named.path,
               named.causes.empty() ? "undecided" : joined(named.causes),
               named.what.empty() ? "" : "(" + named.what + ")");
  }
}

void print_misses(const std::vector<Outcome>& outcomes, bool all) {
  for (const Outcome& outcome : outcomes) {
    if (!outcome.applies) continue;
    const bool is_clean =
        outcome.is_under_floor && outcome.innocent.empty() && outcome.misnamed.empty();
    const bool is_right = outcome.operator_found() && outcome.cause_named();
    if (all || !(is_clean || is_right)) print(outcome);
  }
}

std::vector<Mutant> chosen(const Choice& choice, const std::vector<std::string>& fixtures) {
  std::vector<Mutant> mutants = all_mutants(fixtures, choice.seeds);
  if (choice.tenth >= 0) mutants = a_tenth(mutants, static_cast<uint64_t>(choice.tenth));
  std::erase_if(mutants, [&](const Mutant& mutant) {
    return !lists(choice.kinds, mutant.kinds[0]->id) ||
           (choice.magnitude >= 0 && mutant.magnitude != choice.magnitude) ||
           (choice.seed >= 0 && mutant.seed != static_cast<uint64_t>(choice.seed));
  });
  return mutants;
}

int run(int argc, char** argv) {
  const Choice choice = parse(argc, argv);
  std::vector<std::string> fixtures;
  for (const std::string& name : test::golden_fixtures()) {
    if (lists(choice.fixtures, name)) fixtures.push_back(name);
  }
  Matrix matrix;
  Table table;
  table.commit = choice.commit;
  table.extent = choice.tenth < 0 ? "every kind in every model that has a place for it"
                                  : fmt::format("a tenth of the matrix, by seed {},", choice.tenth);
  if (!choice.table.empty()) {
    for (const std::string& fixture : fixtures) {
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
        ++table.sound_values;
        const std::vector<std::string> alarms = matrix.false_alarms(fixture, dtype);
        if (alarms.empty()) continue;
        table.false_alarms.push_back(fixture);
        fmt::print("ALARM  {} {}: {}\n", fixture, dtype_name(dtype), joined(alarms));
      }
    }
  }
  // The demo model is a larger llama.
  std::erase(fixtures, "storyteller");
  const std::vector<Outcome> outcomes = run_all(matrix, chosen(choice, fixtures));
  print_misses(outcomes, choice.verbose);
  table.scores = score(outcomes);
  const std::vector<Outcome> threes =
      run_all(matrix, triples(matrix, fixtures, static_cast<size_t>(choice.triples), 1));
  print_misses(threes, choice.verbose);
  for (const Outcome& outcome : threes) table.triples.add(outcome);
  const std::string text = to_markdown(table);
  if (!choice.table.empty()) std::ofstream(choice.table) << text;
  const size_t begin = text.find("| what |");
  fmt::print("{}", text.substr(begin, text.find("\n\n", begin) + 1 - begin));
  return 0;
}

}  // namespace
}  // namespace lockstep::mutants

int main(int argc, char** argv) { return lockstep::mutants::run(argc, argv); }
