// GET /metrics: Prometheus's text format, with vLLM's names where it has them.
#pragma once

#include <string>

#include "runtime/engine_stats.h"
#include "serve/http.h"

namespace lockstep::serve {

std::string metrics_text(const std::string& model, const EngineStats& stats,
                         const HttpCounts& counts);

}  // namespace lockstep::serve
