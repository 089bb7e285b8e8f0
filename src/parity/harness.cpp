// Refusals that one recording, or one pair of runs, shows by itself.
#include "parity/harness.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "parity/anatomy.h"

namespace lockstep::parity {
namespace {

const char* way_out(const std::string& code) {
  static const std::map<std::string, const char*> kWaysOut = {
      {"different_prompts", "feed both sides the same ids: `lockstep dump MODEL --like REF`"},
      {"no_prompt_ids", "record the prompt's ids beside the tensors (prompt_tokens)"},
      {"one_token_prompt",
       "record a prompt of two tokens or more: with one key every softmax is 1"},
      {"empty_dump", "record it again; was the recorder interrupted?"},
      {"missing_layer", "record every layer on both sides"},
      {"nonfinite", "find where it arises before comparing: `lockstep dump --stats`"},
      {"equal_hashes", "copy the tensor when it is tapped: a buffer was reused"},
      {"layer_index_shift", "number layers by the module that computed them, from 0"},
      {"last_post_norm", "tap the layer itself, not the list of hidden states"},
      {"tap_point", "tap both sides at the same point, then compare again"},
      {"mutated_tensor", "clone the tensor when it is tapped: a later operator wrote into it"},
      {"reference_not_loaded",
       "load the reference again and read what it warns of; `lockstep reference` does"},
      {"decode_mask", "extend the attention mask by one for every decoded token"},
      {"decode_unchecked",
       "record the reference with its greedy text, or a prefill of the same ids"},
      {"wrong_dtype", "record again in the dtype that the manifest says"},
      {"broadcast_shape", "record the whole tensor on both sides"},
      {"shape_mismatch", "record both sides token-major and without a batch dimension"},
      {"coverage_hole", "record the same taps in every layer"},
  };
  const auto it = kWaysOut.find(code);
  return it == kWaysOut.end() ? "" : it->second;
}

bool is_layer(const TapDiff& tap) {
  return tap.port->info.role == TapRole::kOutput && tap.port->info.index == 0 &&
         dissect(tap.port->info.path).landmark == Landmark::kLayer;
}

void check_finite(const RunDiff& run, DiffReport& report) {
  const TapDiff* first = nullptr;
  int more = 0;
  const auto look = [&](const TapDiff& tap) {
    if (tap.metrics.reference_nonfinite + tap.metrics.port_nonfinite == 0) return;
    if (first == nullptr) {
      first = &tap;
    } else {
      ++more;
    }
  };
  for (const TapDiff& tap : run.taps) look(tap);
  if (run.logits) look(*run.logits);
  if (first == nullptr) return;
  const TapMetrics& m = first->metrics;
  const char* side = m.port_nonfinite == 0        ? "the reference"
                     : m.reference_nonfinite == 0 ? "the port"
                                                  : "both sides";
  std::string message = fmt::format(
      "{} not finite: {} values of the reference and {} of the port, first at token {}, channel "
      "{}: {} against {}",
      m.port_nonfinite > 0 && m.reference_nonfinite > 0 ? "both sides are"
                                                        : fmt::format("{} is", side),
      m.reference_nonfinite, m.port_nonfinite, m.nonfinite_place.token, m.nonfinite_place.channel,
      m.nonfinite_place.reference, m.nonfinite_place.port);
  if (more > 0) message += fmt::format("; {} more taps too", more);
  refuse(report, "nonfinite", run.port->info.id, first->key, message);
}

/// A reused buffer leaves the same content in every layer.
void check_equal_layers(const RunDiff& run, DiffReport& report) {
  for (const bool port : {false, true}) {
    std::map<std::pair<std::string, uint64_t>, std::vector<const TapDiff*>> groups;
    for (const TapDiff& tap : run.taps) {
      const TapInfo& info = port ? tap.port->info : tap.reference->info;
      const Anatomy a = dissect(info.path);
      const TapMetrics& m = tap.metrics;
      if (a.layer < 0 || a.shared || info.role != TapRole::kOutput) continue;
      // Expert ids and counts of one token may well agree.
      if (m.elements() < kFewElements || !is_floating(tap.reference->view.dtype)) continue;
      if (port ? m.port_zero : m.reference_zero) continue;
      if (a.landmark != Landmark::kLayer && (port ? m.port_rows_equal : m.reference_rows_equal)) {
        continue;  // a constant, not a result
      }
      const std::string what = fmt::format("{}#{}.{}", a.inner, info.call, info.index);
      groups[{what, port ? m.port_hash : m.reference_hash}].push_back(&tap);
    }
    for (const auto& [key, taps] : groups) {
      if (taps.size() < 2) continue;
      refuse(report, "equal_hashes", run.port->info.id, taps[0]->key,
             fmt::format("{} has the same content in {} layers ({} and {} among them): {}",
                         port ? "the port" : "the reference", taps.size(), taps[0]->key,
                         taps[1]->key, "one buffer was recorded again and again"));
      break;
    }
  }
}

/// What a run says of its dtype, against the precision its values show.
void check_dtype(const RunDiff& run, DiffReport& report) {
  struct Side {
    const char* name;
    const Run* run;
    bool port;
  };
  for (const Side& side : {Side{"reference", run.reference, false}, Side{"port", run.port, true}}) {
    const std::string& dtype = side.run->info.dtype;
    if (dtype.empty()) continue;
    int taps = 0, bf16 = 0, f16 = 0, stored_low = 0;
    for (const TapDiff& tap : run.taps) {
      const Tap& own = side.port ? *tap.port : *tap.reference;
      const Anatomy a = dissect(own.info.path);
      // Embeddings of a bfloat16 checkpoint fit bfloat16 in any run; shared tables may not.
      if (a.landmark == Landmark::kEmbedding || a.shared || own.info.role != TapRole::kOutput ||
          !is_floating(own.view.dtype) || a.layer < 0) {
        continue;
      }
      const TapMetrics& m = tap.metrics;
      if (side.port ? m.port_zero : m.reference_zero) continue;
      const uint32_t bits = side.port ? m.port_bits : m.reference_bits;
      ++taps;
      bf16 += (bits & 0xffffu) == 0;
      f16 += (bits & 0x1fffu) == 0;
      stored_low += own.view.dtype == DType::kBFloat16 || own.view.dtype == DType::kFloat16;
    }
    if (taps == 0) continue;
    std::string found;
    if (dtype == "float32" || dtype == "float64") {
      if (stored_low == taps || 2 * bf16 > taps || 2 * f16 > taps) {
        found = bf16 >= f16 ? "bfloat16" : "float16";
      }
    } else if (dtype == "bfloat16" && bf16 == 0) {
      found = f16 == taps ? "float16" : "float32";
    } else if (dtype == "float16" && f16 == 0) {
      found = "float32";
    } else if (dtype == "float16" && bf16 == taps) {
      found = "bfloat16";
    }
    if (found.empty()) continue;
    refuse(report, "wrong_dtype", side.run->info.id, "",
           fmt::format("the {}'s run says {}, and its values have the precision of {} ({} of {} "
                       "taps fit bfloat16)",
                       side.name, dtype, found, bf16, taps));
  }
}

void check_rows(const RunDiff& run, DiffReport& report) {
  for (const TapDiff& tap : run.taps) {
    const TapMetrics& m = tap.metrics;
    if (m.reference_rows_equal == m.port_rows_equal) continue;
    if (m.reference_rows_equal ? m.reference_zero : m.port_zero) continue;
    if (m.reference_nonfinite + m.port_nonfinite > 0) continue;  // told by itself
    refuse(report, "broadcast_shape", run.port->info.id, tap.key,
           fmt::format("all {} rows of the {} are the same, those of the {} are not: one row was "
                       "broadcast over all",
                       m.layout.rows, m.reference_rows_equal ? "reference" : "port",
                       m.reference_rows_equal ? "port" : "reference"));
    return;
  }
}

}  // namespace

void refuse(DiffReport& report, std::string code, const std::string& run, const std::string& tap,
            std::string message) {
  DiffFinding finding{Level::kRefusal, std::move(code), run, tap, std::move(message), ""};
  finding.way_out = way_out(finding.code);
  report.findings.push_back(std::move(finding));
}

void check_recording(const Recording& recording, const char* side, DiffReport& report) {
  int filled = 0, usable = 0, short_runs = 0;
  const Run* shortest = nullptr;
  for (const Run& run : recording.runs) {
    if (run.taps.empty() && !run.logits) continue;
    ++filled;
    if (run.info.prompt_ids.size() >= 2) {
      ++usable;
      continue;
    }
    ++short_runs;
    shortest = &run;
  }
  const std::string where = recording.path.string();
  if (filled == 0) {
    refuse(report, "empty_dump", "", "",
           fmt::format("the {} ({}) holds {}", side, where,
                       recording.runs.empty() ? "no runs" : "runs without taps or logits"));
    return;
  }
  if (usable == 0) {
    const bool unknown = shortest->info.prompt_ids.empty();
    refuse(report, unknown ? "no_prompt_ids" : "one_token_prompt", shortest->info.id, "",
           unknown ? fmt::format("the {} ({}) does not say which ids it was fed", side, where)
                   : fmt::format("the {} ({}) holds prompts of one token only", side, where));
  } else if (short_runs > 0) {
    report.not_covered.push_back(
        fmt::format("{} runs of the {} have prompts of fewer than two ids", short_runs, side));
  }
}

void check_run(const RunDiff& run, DiffReport& report) {
  check_finite(run, report);
  check_equal_layers(run, report);
  check_dtype(run, report);
  check_rows(run, report);
}

void check_across_runs(DiffReport& report) {
  for (const bool port : {false, true}) {
    struct Seen {
      const RunDiff* run;
      const TapDiff* tap;
    };
    std::map<std::pair<std::string, uint64_t>, Seen> seen;
    for (const RunDiff& run : report.runs) {
      const RunInfo& info = port ? run.port->info : run.reference->info;
      for (const TapDiff& tap : run.taps) {
        if (!is_layer(tap) || (port ? tap.metrics.port_zero : tap.metrics.reference_zero)) continue;
        const auto key = std::pair(fmt::format("{} {}", tap.key, phase_name(info.phase)),
                                   port ? tap.metrics.port_hash : tap.metrics.reference_hash);
        const auto [it, fresh] = seen.emplace(key, Seen{&run, &tap});
        if (fresh) continue;
        const RunInfo& before = port ? it->second.run->port->info : it->second.run->reference->info;
        if (before.prompt_ids == info.prompt_ids) continue;
        refuse(report, "equal_hashes", run.port->info.id, tap.key,
               fmt::format("the {} has the same content in runs {} and {}, whose ids differ",
                           port ? "port" : "reference", before.id, info.id));
        return;
      }
    }
  }
}

}  // namespace lockstep::parity
