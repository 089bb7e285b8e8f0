// The folder of a new port, which builds as it stands.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "graph/trace.h"
#include "port/delta.h"
#include "port/model_facts.h"
#include "runtime/registry.h"

namespace lockstep::port {

struct ScaffoldOptions {
  std::string start_from;  // slug of a registered architecture
  std::filesystem::path output_dir;
  std::string slug;       // empty: config.json's model_type
  std::string arch_name;  // empty: config.json's architectures[0]
  /// Whether the donor is inherited or its source copied.
  enum class Form { kInheriting, kFullCopy } form = Form::kInheriting;
};

struct Scaffolded {
  std::filesystem::path folder;
  std::string class_name;
  DonorReport report;
  std::vector<std::string> files;
  std::vector<std::string> masked;  // keys that the donor was told otherwise than config.json says
  double seconds = 0;               // of the compiler; 0 where `not_built` says why there is none
  std::string not_built;
  std::string dry_build_fault;  // why it could not be traced; empty: `audit` says what fits
  Audit audit;
};

/// Writes output_dir/slug, whole or not at all. Throws kInvalidArgument without a class name or
/// with one that no class can have, kNotFound for an unknown donor (naming the nearest),
/// kFailedPrecondition where the folder exists.
Scaffolded scaffold(const ModelFacts& facts, const Registry& registry,
                    const ScaffoldOptions& options);

}  // namespace lockstep::port
