// A run of `bench serve` as text of at most 100 columns, as JSON and as a picture.
#pragma once

#include <string>
#include <vector>

#include "client/load_summary.h"

namespace lockstep::client {

/// One server at one level.
struct LevelResult {
  std::vector<LevelSummary> rounds;
  LevelSummary all;  // the rounds put together
};

struct LoadReport {
  struct Server {
    std::string label, url, model;  // "A"
    bool ignores_eos = true, reports_usage = true;
  };
  std::vector<Server> servers;  // one or two
  Json workload;                // how requests were made, for the JSON document
  ServiceLevel service;
  struct Level {
    LoadLevel load;
    std::vector<LevelResult> results;  // parallel to servers
    std::vector<Ratio> ratios;         // empty with one server
  };
  std::vector<Level> levels;

  int64_t n_ok() const;
  int64_t n_failed() const;
};

std::string load_text(const LoadReport& report);
/// {"servers", "workload", "goodput", "levels": [{"load", "results": [...], "ratios"}]}; latencies
/// in milliseconds.
std::string load_json(const LoadReport& report);
/// Latency and throughput over load, and the percentiles at the highest load; it reads on light and
/// on dark ground.
std::string load_svg(const LoadReport& report);

}  // namespace lockstep::client
