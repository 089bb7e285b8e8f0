#include "port/donor_trace.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/glob.h"
#include "lockstep/error.h"
#include "port/topics.h"

namespace lockstep::port {
namespace {

using nlohmann::ordered_json;
using Why = Substitution::Why;

constexpr const char* kFile = "config.json";
// More refusals than this, and the donor has nothing to do with the model.
constexpr int kMostRefusals = 12;

struct Attempt {
  std::optional<Trace> trace;
  std::string failure;
  std::vector<std::string> unread, missed;

  size_t n_misfits() const {
    const Audit& audit = trace->audit;
    return audit.missing.size() + audit.mismatched.size() + audit.surplus.size();
  }
};

Attempt attempt_with(const LockstepArchitecture& donor, const ordered_json& config,
                     const Checkpoint& headers) {
  const ConfigFile file = ConfigFile::parse(config.dump(), kFile);
  Attempt attempt;
  try {
    attempt.trace = trace(donor, file, headers, DType::kFloat32);
  } catch (const Error& error) {
    attempt.failure = error.message();
  }
  attempt.unread = file.unread();
  attempt.missed = file.missed();
  return attempt;
}

// "config.json: KEY: what" -> KEY and what; empty where the message is of another form.
std::pair<std::string, std::string> refused_key(const std::string& message) {
  const std::string opening = std::string(kFile) + ": ";
  const size_t at = message.find(opening);
  if (at == std::string::npos) return {};
  const size_t begin = at + opening.size(), end = message.find(": ", begin);
  if (end == std::string::npos) return {};
  std::string key = message.substr(begin, end - begin);
  if (key.empty() || key.find(' ') != std::string::npos) return {};
  return {std::move(key), message.substr(end + 2)};
}

// "... [op] NAME: what": the attribute that an op refuses, which mostly has its key's name.
std::string refused_attribute(const std::string& message) {
  const size_t op = message.find(": ["), begin = message.find("] ", op);
  if (op == std::string::npos || begin == std::string::npos) return {};
  return message.substr(begin + 2, message.find(": ", begin + 2) - begin - 2);
}

// The smallest value of the kind that a donor asks for.
std::optional<ordered_json> least_value(const std::string& expected) {
  if (expected.starts_with("expected a whole number")) return 1;
  if (expected.starts_with("expected a number")) return 1.0;
  if (expected.starts_with("expected true or false")) return false;
  return std::nullopt;
}

bool is_asked_for(const ordered_json& config, const Trait& trait) {
  for (const auto& [key, value] : config.items()) {
    if (is_off(key, value, config)) continue;
    if (trait.is_evidence(key)) return true;
    if (!value.is_object()) continue;
    for (const auto& [inner, inner_value] : value.items()) {
      if (!is_off(inner, inner_value, value) && trait.is_evidence(inner)) return true;
    }
  }
  return false;
}

class Tracer {
 public:
  Tracer(const LockstepArchitecture& donor, const Candidate& candidate)
      : donor_(donor), candidate_(candidate), config_(candidate.config) {}

  DonorTrace run() {
    attempt_ = attempt_with(donor_, config_, candidate_.headers);
    pass_refusals();
    take_aliases();
    pass_refusals();
    const std::vector<std::string> missed = attempt_.missed;
    fit_defaults();
    DonorTrace result;
    result.failure = attempt_.failure;
    result.unread = attempt_.unread;
    result.missed = missed;
    std::erase_if(result.unread, [&](const std::string& key) { return was_given(key); });
    if (attempt_.trace) result.traits = traits_with_answers(*attempt_.trace);
    result.trace = std::move(attempt_.trace);
    result.substitutions = std::move(substitutions_);
    return result;
  }

 private:
  bool was_given(const std::string& key) const {
    return std::ranges::any_of(substitutions_, [&](const Substitution& s) {
      return s.why == Why::kAlias ? s.key == key || s.text == key : s.key == key;
    });
  }

  // Takes the value away that the donor refuses, or gives it the one that it lacks.
  bool pass_refusal() {
    const auto [key, what] = refused_key(attempt_.failure);
    if (pass_attribute(refused_attribute(attempt_.failure))) return true;
    if (key.empty() || was_given(key)) return false;
    const std::string top = key.substr(0, key.find('.'));
    const bool is_nested = top.size() != key.size();
    if (!is_nested && !config_.contains(key)) {
      const std::optional<ordered_json> value = least_value(what);
      if (!value) return false;
      config_[key] = *value;
      substitutions_.push_back({Why::kRequired, key, shown_value(*value)});
      return true;
    }
    bool is_gone = config_.erase(top) > 0;
    // Both generations of keys are read as one.
    if (top == "rope_parameters") is_gone = config_.erase("rope_scaling") > 0 || is_gone;
    if (is_gone) substitutions_.push_back({Why::kRefused, key, what});
    return is_gone;
  }

  // A default of the donor's that this model's sizes do not allow.
  bool pass_attribute(const std::string& key) {
    if (key.empty() || was_given(key)) return false;
    const auto own = config_.find(key);
    const auto& missed = attempt_.missed;
    const bool is_default =
        own == config_.end() ? std::ranges::find(missed, key) != missed.end() : own->is_null();
    if (!is_default) return false;
    config_[key] = 1;
    substitutions_.push_back({Why::kDefault, key, "1"});
    return true;
  }

  void pass_refusals() {
    for (int i = 0; i < kMostRefusals && !attempt_.trace && pass_refusal(); ++i) {
      attempt_ = attempt_with(donor_, config_, candidate_.headers);
    }
  }

  // Keys that the donor misses, and that config.json has under another name.
  void take_aliases() {
    ordered_json given = config_;
    std::vector<Substitution> aliases;
    for (const std::string& missed : attempt_.missed) {
      if (given.contains(missed) && !given[missed].is_null()) continue;
      for (const std::string_view name : aliases_of(missed)) {
        const auto at = config_.find(name);
        if (at == config_.end() || !at->is_primitive() || at->is_null()) continue;
        if (std::ranges::find(attempt_.unread, name) == attempt_.unread.end()) continue;
        given[missed] = *at;
        aliases.push_back({Why::kAlias, missed, std::string(name)});
        break;
      }
    }
    if (aliases.empty()) return;
    Attempt next = attempt_with(donor_, given, candidate_.headers);
    if (!next.trace && attempt_.trace) return;
    config_ = std::move(given);
    attempt_ = std::move(next);
    substitutions_.insert(substitutions_.end(), aliases.begin(), aliases.end());
  }

  /// Misfits, and traits that nobody asked for: what a default is chosen by.
  size_t burden(const Attempt& attempt) const {
    const std::vector<Trait> traits = traits_with_answers(*attempt.trace);
    const auto n = std::ranges::count(traits, false, &Trait::is_asked);
    return attempt.n_misfits() + static_cast<size_t>(n);
  }

  std::vector<Trait> traits_with_answers(const Trace& trace) const {
    std::vector<Trait> traits = traits_of(trace.graph);
    for (Trait& trait : traits) trait.is_asked = is_asked_for(candidate_.config, trait);
    return traits;
  }

  // What a missed key may be when it is not the donor's default.
  std::vector<ordered_json> other_defaults(const std::string& key) const {
    const auto has = [&](std::string_view word) { return key.find(word) != std::string::npos; };
    if (key == "tie_word_embeddings" || has("bias") || has("qk_norm") || has("qk_layernorm") ||
        has("parallel_residual")) {
      return {true, false};
    }
    const auto heads = config_.find("num_attention_heads"), width = config_.find("hidden_size");
    const bool has_heads = heads != config_.end() && heads->is_number_integer() && *heads > 0;
    if (key == "num_key_value_heads" && has_heads) return {*heads};
    if (key == "head_dim" && has_heads && width != config_.end() && width->is_number_integer()) {
      return {width->get<int64_t>() / heads->get<int64_t>()};
    }
    if (has("window") || has("softcapping") || key == "q_lora_rank") return {nullptr};
    if (has("multiplier") || has("logit_scale") || has("logits_scaling")) return {1.0};
    if (key == "rope_parameters.partial_rotary_factor") return {1.0};
    return {};
  }

  // The donor's defaults are its own class's. Where config.json says nothing and another value fits
  // the tensors better, that is the value.
  void fit_defaults() {
    if (!attempt_.trace) return;
    const std::vector<std::string> missed = attempt_.missed;
    for (const std::string& key : missed) {
      if (was_given(key)) continue;
      for (const ordered_json& value : other_defaults(key)) {
        const size_t before = burden(attempt_);
        if (before == 0) return;
        ordered_json given = config_;
        given[key.substr(key.find('.') + 1)] = value;
        Attempt next = attempt_with(donor_, given, candidate_.headers);
        if (!next.trace || burden(next) >= before) continue;
        const bool is_fit = next.n_misfits() < attempt_.n_misfits();
        config_ = std::move(given);
        attempt_ = std::move(next);
        substitutions_.push_back({is_fit ? Why::kDefault : Why::kAssumed, key, shown_value(value)});
        break;
      }
    }
  }

  const LockstepArchitecture& donor_;
  const Candidate& candidate_;
  ordered_json config_;
  Attempt attempt_;
  std::vector<Substitution> substitutions_;
};

}  // namespace

bool Trait::is_evidence(std::string_view key) const {
  return std::ranges::any_of(evidence,
                             [&](const std::string& pattern) { return glob_match(pattern, key); });
}

DonorTrace trace_donor(const LockstepArchitecture& donor, const Candidate& candidate) {
  return Tracer(donor, candidate).run();
}

}  // namespace lockstep::port
