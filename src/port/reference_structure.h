// What reference/structure.py says: how a model's reference differs from donors' references.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "port/delta.h"

namespace lockstep::port {

struct ReferenceStructure {
  struct Difference {
    std::string part, where;  // as of Delta
    std::string reference, donor, change;
    std::vector<std::string> names;    // members and config keys that the code names
    std::vector<std::string> tensors;  // numbers as *
  };
  struct Donor {
    bool was_compared = false;
    std::vector<Difference> differences;
    std::vector<std::string> not_compared;  // "the order of calls: why"
  };

  std::string library;                            // "transformers 5.12.1"
  std::string file;                               // of the reference; empty: nothing was compared
  std::vector<std::string> not_compared;          // why, for all donors
  std::map<std::string, std::string> key_places;  // config key -> "modeling_x.py:120"
  std::set<std::string> unread_keys;              // that no line of the reference names
  std::map<std::string, Donor> donors;            // by class name

  /// The document of its "done" event. Throws kInvalidArgument naming key, expected and found.
  static ReferenceStructure parse(std::string_view json);
  /// Runs it with `python` (as find_python() takes it) on the model's folder; `progress` gets a
  /// line for each step. Throws as find_python(), kUnavailable when it ends without an answer,
  /// kCancelled.
  static ReferenceStructure compare(const ModelFacts& facts,
                                    const std::vector<std::string>& donor_classes,
                                    const std::string& python,
                                    const std::function<void(const std::string&)>& progress);
};

/// Joins what the sources say to what config.json and headers say: a difference of the same tensors
/// or keys gives its place to the delta; any other is a delta of its own; what was only guessed
/// from the donor's graph goes; a key that no line of the reference names is cosmetic. A report
/// whose class was not compared only gets the places of its keys.
void add_reference(DonorReport& report, const ReferenceStructure& structure);

/// Of donors that were compared first, by the rule of rank_donors(); the others follow.
void rank_again(std::vector<DonorReport>& reports);

}  // namespace lockstep::port
