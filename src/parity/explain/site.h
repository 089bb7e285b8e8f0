// A site: one value that a port computes wrongly although everything it is computed from is the
// reference's. It holds both outcomes, the chain of ops between the recorded inputs and the value,
// and the means to ask what another formula, weight or input would have given.
//
//   reference's tensors ──> port's chain of ops (steps) ──> port        is not
//   reference's tensors ──> what the reference does     ──> reference
//
// Two ways to judge a cause, and a cause may use either:
//   a formula   its wrong variant on the inputs gives `port`, its right variant gives `reference`
//   a repair    replay(Change) of the port's own chain with one thing changed gives `reference`
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "parity/explain/array.h"
#include "parity/recording.h"

namespace lockstep::parity {

/// An input of one op of the chain. Roles, op by op (src/ops/<op>/<op>.h has the shapes):
///   linear            x weight bias              rope              x cos sin
///   rms_norm          x weight                   rotary_embedding  positions
///   layer_norm        x weight bias              activation        x
///   attention         q k v positions row_offsets page_offsets pages k_cache v_cache sinks
///   latent_attention  as its header lists them   router_topk       logits bias
///   experts           x ids weights gate_up down gate_up_bias down_bias
///   elementwise       a b                        embedding         ids weight
///   gather_rows       x rows                     concat            a b
/// and "input.<i>" for any other.
struct Operand {
  enum class Kind : uint8_t {
    kKnown,   // the reference recorded it: `name` is the tap's path, with ":input" as isolate says
    kWeight,  // `name` is the parameter's path
    kStepData,  // "@positions", "@input_ids", ...
    kCache,     // "@model.layers.3.self_attn/k_cache": as it was before this run
    kStep,      // another step's output: the port's own, on the reference's inputs
  };
  std::string role;
  Kind kind = Kind::kKnown;
  std::string name;
  int step = -1;               // of kStep: index in Site::steps
  uint32_t output = 0;         // of kStep: which of its results
  std::vector<int64_t> shape;  // as the op sees it
};

/// One op of the chain, in order of execution; reshapes are left out.
struct SiteStep {
  std::string op;  // as src/ops names it
  Attrs attrs;     // the port's; empty where the port is known by its dump alone
  std::vector<Operand> operands;
  uint32_t node = 0;  // in the graph that Change::graph is handed

  const Operand* operand(std::string_view role) const;
};

/// Other values for input `input` of node `node`; one behind its last is added (a bias, sinks).
struct GivenInput {
  uint32_t node = 0;
  size_t input = 0;
  Array values;
};

/// What a counterfactual changes of the port's chain; the rest stays. Results keep their shapes.
struct Change {
  /// Whether ops compute as the port's do, or as this program's own of that name, where these are
  /// not the same.
  enum class Chain : uint8_t { kPort, kSound } chain = Chain::kPort;
  /// Edits the piece of graph: nodes by SiteStep::node. May append nodes that read earlier ones.
  std::function<void(Graph&)> graph;
  std::map<std::string, Array> weights;  // by parameter path: other values, the same shape
  std::map<std::string, Array> known;    // by Operand::name of kKnown or kStepData: all its readers
  std::vector<GivenInput> given;         // one reader
};

/// Sizes that the port's graph and the config agree on; 0 where neither says.
struct Geometry {
  int64_t n_tokens = 0, first_position = 0;
  int64_t hidden = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0, n_layers = 0, vocabulary = 0;
  int64_t n_experts = 0, experts_per_token = 0;
  int layer = -1;  // of this site
};

class Site {
 public:
  Site() = default;
  Site(const Site&) = default;
  Site& operator=(const Site&) = delete;
  virtual ~Site() = default;

  std::string run;           // the recording's, "float32-eager-p0-prefill"
  std::string dtype;         // of it
  std::string path;          // "model.layers.3.self_attn/q_rot"
  std::string module_class;  // "LlamaAttention"
  std::vector<SiteStep> steps;
  Array reference, port;
  bool is_ids = false;  // expert ids: rows are sets
  /// Where the port computes nothing for this value (no steps): the recorded one it is instead.
  std::string handed_on;
  /// Relative L2 within which two computations of this value are the same one.
  double bar = 0;
  double effect = 0;  // of `port` from `reference`; above the bar
  Geometry geometry;
  Phase phase = Phase::kPrefill;
  std::vector<int64_t> positions;  // of the run's rows, as the port has them
  std::vector<int64_t> ids;        // of all tokens up to the run's last

  /// The only step of this op; null where there is none or several.
  const SiteStep* find(std::string_view op) const;
  /// The only step there is, if it is of this op (casts and reshapes aside): formulas of one op
  /// need not mind a chain.
  const SiteStep* only(std::string_view op) const;

  /// What an operand held: the reference's value where it is known, the port's otherwise. Its shape
  /// is the port's ([T, heads, head_dim] for q). None where only dumps are there and no dump has
  /// it.
  virtual const Array* value(const Operand& operand) const = 0;
  const Array* operand(const SiteStep& step, std::string_view role) const;

  /// The port's chain with a change, on the reference's inputs. None where there is no graph, or
  /// where the changed chain does not run.
  virtual std::optional<Array> replay(const Change& change) const = 0;
  virtual bool has_graph() const = 0;
  /// How far the chain is from the reference with each op computed as it is meant; none where the
  /// port computes it so, and where there is no graph. Within the bar the graph is right and what
  /// its ops compute is not: then a counterfactual is a change of the sound chain that gives
  /// `port`.
  virtual std::optional<double> sound_error() const = 0;
  bool is_sound_right() const {
    const std::optional<double> error = sound_error();
    return error && *error <= bar;
  }

  /// Another value of the reference's same run, by module path ("model.layers.3.self_attn.q_norm",
  /// "x:input" for what goes into module x); none where it was not recorded.
  virtual const Array* tap(const std::string& tap_path) const = 0;
  /// Paths of all values the reference recorded in this run, in order.
  virtual std::vector<std::string> tap_paths() const = 0;

  /// A tensor of the checkpoint, by stored name; none where it has none of that name.
  virtual const Array* stored(const std::string& name) const = 0;
  virtual std::vector<std::string> stored_names() const = 0;
  /// Elements of a stored tensor, from its header; 0 for none of that name.
  virtual int64_t stored_size(const std::string& name) const {
    const Array* array = stored(name);
    return array == nullptr ? 0 : array->elements();
  }
  /// A weight as the port holds it, by parameter path, and the stored name that the path has.
  virtual const Array* weight(const std::string& parameter_path) const = 0;
  virtual std::vector<std::string> weight_paths() const = 0;

  /// A number, text or flag of config.json by dotted path, looked for at the top and in
  /// text_config; none where it is absent or of another kind. Booleans are 0 and 1.
  virtual std::optional<double> config_number(std::string_view key) const = 0;
  virtual std::optional<std::string> config_text(std::string_view key) const = 0;
  /// Every number in config.json, "rope_parameters.rope_theta" -> 500000.
  virtual std::vector<std::pair<std::string, double>> config_numbers() const = 0;

  /// Relative L2 for numbers; for ids, the share of rows that hold another set.
  double difference(const Array& found, const Array& expected) const;
  /// Whether these are the same value within the bar.
  bool same(const Array& found, const Array& expected) const;
};

}  // namespace lockstep::parity
