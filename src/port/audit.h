// Holds what a port's comments and PORT.md say against the traced graph, config.json and the code.
#pragma once

#include <string>
#include <vector>

#include "graph/trace.h"
#include "hub/config.h"
#include "port/delta.h"
#include "port/port_folder.h"
#include "runtime/registry.h"

namespace lockstep::port {

struct Claim {
  enum class Verdict {
    kOk,
    kLie,    // the graph, config.json or the port's origin says otherwise
    kStale,  // it speaks of what is no longer in the code
  };
  Verdict verdict;
  std::string file;  // in the port's folder
  size_t line;
  std::string words;     // as they stand there
  std::string evidence;  // what they were held against
};
std::string_view verdict_name(Claim::Verdict verdict);

struct AuditReport {
  std::string content_hash;  // of the port
  size_t n_files = 0;
  std::vector<Claim> claims;

  size_t count(Claim::Verdict verdict) const;
  bool holds() const { return count(Claim::Verdict::kOk) == claims.size(); }
  /// "14 claims in 3 files, all OK; content 1a2b3c4d5e6f", or how many are Lie and Stale.
  std::string summary() const;
};

struct AuditSubject {
  const PortFolder& port;
  const ConfigFile& config;
  const Trace& trace;
  const DonorReport* donor;  // of deltas.json; nullptr: there is none
};

/// Every claim, file by file, line by line. What is said of a delta that is still to do is no
/// claim.
AuditReport audit(const AuditSubject& subject);

}  // namespace lockstep::port
