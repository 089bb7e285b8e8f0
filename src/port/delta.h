// How a model differs from an architecture that a port could begin with.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "port/model_facts.h"
#include "runtime/registry.h"

namespace lockstep::port {

/// One difference. Structural: code must change. Cosmetic: a number that config.json carries.
struct Delta {
  enum class Kind { kStructural, kCosmetic };
  int number = 0;  // from 1, in the order of the report
  Kind kind = Kind::kStructural;
  std::string part;       // attention, mlp, layer, norm, positions, experts, cache, head, config,
                          // weights
  std::string reference;  // what the reference does
  std::string donor;      // what the donor does
  std::string change;     // what to do about it
  std::string where;      // "modeling_x.py:120" of the reference; empty: only config and headers
                          // were compared
  std::vector<std::string> keys;     // of config.json
  std::vector<std::string> tensors;  // stored names, numbers as *
};

/// "structural" or "cosmetic".
std::string_view delta_kind_name(Delta::Kind kind);

struct DonorReport {
  std::string slug, class_name;
  std::vector<Delta> deltas;
  /// The references' sources were compared as well (reference_structure.h); what of them was not.
  bool sources_compared = false;
  std::vector<std::string> not_compared = {};

  size_t n_structural() const;
};

/// Structural first, then by part; numbered from 1.
void number_deltas(std::vector<Delta>& deltas);

/// Every registered architecture but the model's own class, the nearest first: fewest structural
/// deltas, then fewest cosmetic; then those of its family, those with the fewest keys that
/// config.json lacks, and by name. From config.json and headers alone.
std::vector<DonorReport> rank_donors(const ModelFacts& facts, const Registry& registry);

/// The same of one architecture.
DonorReport compare_donor(const ModelFacts& facts, const LockstepArchitecture& donor);

/// A delta as an object: number, kind, part, reference, donor, change, where, keys, tensors.
nlohmann::ordered_json deltas_json(const std::vector<Delta>& deltas);
/// deltas.json of a port folder: the donor and its deltas as they were when it was scaffolded.
void write_deltas(const std::filesystem::path& file, const DonorReport& report);
/// Throws kInvalidArgument naming file, key, expected and found.
DonorReport read_deltas(const std::filesystem::path& file);

}  // namespace lockstep::port
