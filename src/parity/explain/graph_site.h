// Sites of a port that can be run: its own chain of ops, cut out of the graph and replayed.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "parity/explain/config_values.h"
#include "parity/explain/site.h"
#include "parity/isolate.h"
#include "parity/run_replay.h"

namespace lockstep::parity {

/// What all sites of one port share: its weights and checkpoint as arrays, each made once.
class PortFacts {
 public:
  /// `pipeline` outlives this.
  explicit PortFacts(Pipeline& pipeline, const Recording& reference);

  const Array* stored(const std::string& name);
  const Array* weight(const std::string& path);
  const ConfigValues& config() const { return config_; }
  /// Sizes that hold for every site.
  const Geometry& geometry() const { return geometry_; }
  const Pipeline& pipeline() const { return pipeline_; }

 private:
  void read_geometry();

  Pipeline& pipeline_;
  ConfigValues config_;
  Geometry geometry_;
  std::map<std::string, std::unique_ptr<Array>> stored_, weights_;
};

class GraphSite : public Site {
 public:
  /// The site that `tap` is, of the run that `replay` is prepared for. Both outlive this, and so
  /// does `facts`. Throws as RunReplay::execute.
  GraphSite(PortFacts& facts, RunReplay& replay, const RunReplay::Target& target,
            const IsolatedTap& tap);

  /// The one op of the chain that is to blame, as a site of its own: one that computes otherwise
  /// than it is meant, or the port's own rotary tables where the reference's repair the chain. Null
  /// where the chain is one op or cannot be narrowed so.
  std::unique_ptr<GraphSite> narrowed() const;

  const Array* value(const Operand& operand) const override;
  std::optional<Array> replay(const Change& change) const override;
  bool has_graph() const override { return true; }
  std::optional<double> sound_error() const override { return sound_error_; }
  const Array* tap(const std::string& tap_path) const override;
  std::vector<std::string> tap_paths() const override;
  const Array* stored(const std::string& name) const override { return facts_.stored(name); }
  std::vector<std::string> stored_names() const override;
  int64_t stored_size(const std::string& name) const override;
  const Array* weight(const std::string& weight_path) const override {
    return facts_.weight(weight_path);
  }
  std::vector<std::string> weight_paths() const override;
  std::optional<double> config_number(std::string_view key) const override;
  std::optional<std::string> config_text(std::string_view key) const override;
  std::vector<std::pair<std::string, double>> config_numbers() const override;

 private:
  using StepValues = std::map<std::pair<int, uint32_t>, Array>;  // (step, output)

  GraphSite(const GraphSite& outer, uint32_t node, const StepValues& values);
  std::unique_ptr<GraphSite> guilty_op() const;
  std::unique_ptr<GraphSite> own_tables() const;
  StepValues sound_values() const;
  RunReplay::Feed own_feed() const;
  void make_steps();
  Operand operand_of(const ValueId& input, std::string role) const;
  void run_port();
  void run_sound();
  void give(Graph& part, const GivenInput& given, RunReplay::Feed& feed) const;
  RunReplay::Caches copy_of_caches() const;
  const Array* base_value(const Operand& operand) const;

  PortFacts& facts_;
  RunReplay& replay_;
  Graph part_;
  std::optional<double> sound_error_;
  RunReplay::Caches caches_;
  std::map<uint32_t, int> step_of_node_;
  std::map<std::string, ValueId> known_by_name_;        // of the port's graph
  std::map<std::string, std::string> names_of_inputs_;  // "value.3.0" -> name
  std::map<std::string, Tensor> given_;                 // of a narrowed site, by input
  StepValues step_values_;
  mutable std::map<std::string, Array> values_, taps_;
  std::map<std::string, const Tap*> recorded_;
  std::vector<std::string> tap_order_;
};

}  // namespace lockstep::parity
