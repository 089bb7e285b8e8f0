// What outcomes add up to, a kind and in all, and the table for people.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "matrix.h"

namespace lockstep::mutants {

struct Score {
  size_t mutants = 0;       // that move a value further than the floor
  size_t found = 0;         // every fault's operator called guilty, and no other
  size_t named = 0;         // every fault's cause, or its class, first, and nothing else named
  size_t undecided = 0;     // no cause named, right or wrong
  size_t misnamed = 0;      // a cause named that was not planted
  size_t floor = 0;         // under the floor
  size_t floor_failed = 0;  // and called guilty of what is not, or named wrongly
  std::set<std::string> fixtures;

  void add(const Outcome& outcome);
};

/// In parts of `all`; 1 of none.
double share(size_t part, size_t all);

struct Scores {
  std::vector<std::pair<const FaultKind*, Score>> kinds;  // those that were planted, in their order
  Score known, unknown;
};
/// Of mutants of one kind each.
Scores score(const std::vector<Outcome>& outcomes);

struct Table {
  std::string commit;
  std::string extent;  // "every kind in every model", "a tenth of it"
  Scores scores;
  Score triples;
  size_t sound_values = 0;  // ports x types that were judged
  std::vector<std::string> false_alarms;
};
/// docs/debugger-checks.md.
std::string to_markdown(const Table& table);

}  // namespace lockstep::mutants
