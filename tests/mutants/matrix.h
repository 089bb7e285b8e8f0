// The checker checked: faults planted in sound ports, judged blindly, counted.
//
// The reference is what the sound port computed in float32, every value and decode steps, recorded
// as `lockstep dump` does: other tests hold the sound ports against transformers' own recordings.
// What judges gets the faulty port and that recording, and nothing else.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "../support.h"
#include "fault_kind.h"
#include "parity/explain/explain.h"
#include "parity/isolate.h"
#include "parity/recording.h"

namespace lockstep::mutants {

struct Mutant {
  std::vector<const FaultKind*> kinds;  // one, or several at once
  std::string fixture;
  int magnitude = 0;
  uint64_t seed = 0;
};

/// All kinds, for as long as the program runs.
const std::vector<FaultKind>& kinds();

/// "rope_theta llama 1 7".
std::string to_string(const Mutant& mutant);

/// What a fault was called: its cause, and those that the numbers cannot tell from it.
struct Named {
  std::string path;                 // of the fault's first site
  std::vector<std::string> paths;   // of all
  std::vector<std::string> causes;  // ids, the first one first; none: undecided
  std::vector<int> rows;            // of the catalogue, beside them
  std::string what;                 // the first one's sentence, or the best that did not fit
};

struct Outcome {
  Mutant mutant;
  bool applies = false;
  std::string error;                  // it could not be run
  std::string note;                   // what was planted
  std::vector<std::string> sources;   // paths that were called guilty, once each
  std::vector<std::string> innocent;  // of these, the ones that no planted node is behind
  std::vector<std::string> missed;    // kinds of which no place was called guilty
  std::vector<Named> named;           // what explain says of the sources
  std::vector<std::string> unnamed;   // kinds whose cause, or class, is not what comes first
  std::vector<std::string> misnamed;  // paths with a cause that no planted kind has
  double moved = 0;                   // the most that any value of the whole run moved
  bool is_under_floor = false;
  bool operator_found() const { return error.empty() && missed.empty() && innocent.empty(); }
  bool cause_named() const { return error.empty() && unnamed.empty() && misnamed.empty(); }
  /// Of kinds that the catalogue does not hold.
  bool is_unknown() const { return mutant.kinds.size() == 1 && mutant.kinds[0]->rows.empty(); }
};

/// Recordings and sound models, made once and kept in a temporary folder.
class Matrix {
 public:
  /// Whether the fixture has a place for the mutant's faults.
  bool applies(const Mutant& mutant) const { return plant(mutant).has_value(); }
  /// Runs the mutant, or says that it does not apply.
  Outcome run(const Mutant& mutant);
  /// Sources in the sound port: none, if all is well. bfloat16 is judged against a bfloat16 dump.
  std::vector<std::string> false_alarms(const std::string& fixture, DType dtype);

 private:
  struct Faulty {
    Model model;
    std::string note;
    std::vector<PlantedFault> faults;
  };
  std::optional<Faulty> plant(const Mutant& mutant) const;

  struct Reference {
    std::once_flag once;
    parity::Recording recording;
  };
  const parity::Recording& reference(const std::string& fixture, DType dtype);

  test::TempDir temp_;
  std::mutex mutex_;
  std::map<std::pair<std::string, DType>, std::unique_ptr<Reference>> references_;
};

/// Every kind in every fixture at every magnitude with `n_seeds` seeds, whether it applies or not.
std::vector<Mutant> all_mutants(const std::vector<std::string>& fixtures, int n_seeds);
/// A tenth of them by `seed`, spread over kinds.
std::vector<Mutant> a_tenth(const std::vector<Mutant>& mutants, uint64_t seed);
/// `n` of a rotation, a norm and a routing (or head) at once, in fixtures that have all three.
std::vector<Mutant> triples(const Matrix& matrix, const std::vector<std::string>& fixtures,
                            size_t n, uint64_t seed);

/// Runs `mutants` on all cores, in order of the result.
std::vector<Outcome> run_all(Matrix& matrix, const std::vector<Mutant>& mutants);

}  // namespace lockstep::mutants
