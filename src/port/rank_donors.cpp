// The deltas between a model and each registered architecture, from config.json and tensor headers:
// the architecture is traced against them, and what does not fit is told topic by topic.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

#include "port/delta.h"
#include "port/donor_trace.h"
#include "port/tensor_groups.h"
#include "port/topics.h"

namespace lockstep::port {
namespace {

using Why = Substitution::Why;

void append(std::string& text, const std::string& more) {
  if (more.empty()) return;
  text += text.empty() ? "" : "; ";
  text += more;
}

// "gemma2" and "gemma3_text" -> "gemma"; "deepseek_v3" -> "deepseek_v".
std::string_view family_of(std::string_view name) {
  const size_t end = std::min(name.find_first_of("0123456789"), name.size());
  const std::string_view stem = name.substr(0, end);
  return stem.substr(0, std::min(stem.find_last_not_of('_') + 1, stem.size()));
}

bool are_related(std::string_view model_type, std::string_view slug) {
  const std::string_view a = family_of(model_type), b = family_of(slug);
  if (a.empty() || b.empty()) return false;
  constexpr size_t kStem = 4;  // "olmo" of "olmoe", not "gpt" of "gpt_neox"
  const auto begins = [](std::string_view longer, std::string_view shorter) {
    return shorter.size() >= kStem && longer.starts_with(shorter);
  };
  return a == b || begins(a, b) || begins(b, a);
}

// What one topic's delta is made of.
struct Draft {
  Delta::Kind kind = Delta::Kind::kCosmetic;
  std::string reference, donor, change;
  std::vector<std::string> unread;  // of `keys`
  std::vector<std::string> keys, tensors;
};

class Comparison {
 public:
  Comparison(const Candidate& candidate, const LockstepArchitecture& donor)
      : candidate_(candidate), donor_(trace_donor(donor, candidate)) {
    const auto layers = candidate.config.find("num_hidden_layers");
    if (layers != candidate.config.end() && layers->is_number_integer()) n_layers_ = *layers;
    is_related_ = are_related(candidate.model_type, donor.slug);
    note_wrapper();
    note_failure();
    note_tensors();
    note_substitutions();
    note_traits();
    note_keys();
  }

  std::vector<Delta> deltas() const {
    std::vector<Delta> deltas;
    for (const auto& [topic, draft] : drafts_) {
      std::string donor = draft.donor;
      if (!draft.unread.empty()) {
        append(donor, fmt::format("does not read {}", fmt::join(draft.unread, ", ")));
      }
      deltas.push_back({.number = 0,
                        .kind = draft.kind,
                        .part = topic.part,
                        .reference = draft.reference,
                        .donor = donor,
                        .change = draft.change,
                        .where = {},
                        .keys = draft.keys,
                        .tensors = draft.tensors});
    }
    number_deltas(deltas);
    return deltas;
  }

  /// What the donor can do and config.json does not speak of.
  size_t n_spare() const { return donor_.missed.size(); }
  bool is_related() const { return is_related_; }

 private:
  Draft& structural(const Topic& topic) {
    Draft& draft = drafts_[topic];
    draft.kind = Delta::Kind::kStructural;
    return draft;
  }
  // Scalars stay apart from what is structural in their topic, so that they count as what they are.
  Draft& cosmetic(const Topic& topic) { return drafts_[{topic.part, topic.aspect + " (values)"}]; }

  void note_wrapper() {
    if (candidate_.wrapper_key.empty()) return;
    Draft& draft = structural({"weights", "text part"});
    draft.keys = {candidate_.wrapper_key};
    draft.reference = fmt::format("has the text part's keys in {}", candidate_.wrapper_key);
    draft.donor = "reads them at the top of config.json";
    draft.change = fmt::format("read {}", candidate_.wrapper_key);
    if (!candidate_.wrapper_prefix.empty()) {
      append(draft.reference, fmt::format("stores it under {}*", candidate_.wrapper_prefix));
      append(draft.change, "strip the prefix");
    }
    if (candidate_.n_surplus_rows > 0) {
      append(draft.reference,
             fmt::format("stores {} rows beyond the vocabulary", candidate_.n_surplus_rows));
      append(draft.change, "cut the rows off");
    }
    if (candidate_.n_foreign > 0) {
      append(draft.reference, fmt::format("stores {} tensors of {}", candidate_.n_foreign,
                                          fmt::join(candidate_.foreign, ", ")));
      append(draft.change, "drop the others with a reason");
      for (const std::string& name : candidate_.foreign) draft.tensors.push_back(name + ".*");
    }
  }

  void note_failure() {
    if (donor_.trace) return;
    Draft& draft = structural({"config", "configuration"});
    draft.reference = "has a configuration that the donor cannot be built from";
    draft.donor = donor_.failure;
    draft.change = "write what the donor's config class reads anew";
    Audit audit;
    for (const TensorEntry& entry : candidate_.headers.tensors())
      audit.surplus.push_back(entry.name);
    for (const auto& [topic, group] : group_tensors(audit)) note_group(topic, group);
  }

  void note_tensors() {
    if (!donor_.trace) return;
    for (const auto& [topic, group] : group_tensors(donor_.trace->audit)) note_group(topic, group);
  }

  void note_group(const Topic& topic, const TensorGroup& group) {
    Draft& draft = structural(topic);
    const std::string surplus = shown_names(group.surplus, n_layers_);
    const std::string missing = shown_names(group.missing, n_layers_);
    if (!surplus.empty()) append(draft.reference, "stores " + surplus);
    if (surplus.empty() && !missing.empty()) append(draft.reference, "stores none of these");
    if (!missing.empty()) append(draft.donor, "reads " + missing);
    if (missing.empty() && !surplus.empty()) append(draft.donor, "has none of these");
    if (!surplus.empty() && !missing.empty()) {
      append(draft.change,
             fmt::format("put the reference's {} in the place of the donor's", topic.aspect));
    } else if (!surplus.empty()) {
      append(draft.change, "add them, and use them where the reference does");
    } else if (!missing.empty()) {
      append(draft.change, "leave them out");
    }
    if (!surplus.empty() && !missing.empty() && topic.part == "norm" && topic.aspect != "biases") {
      Draft& wiring = structural({"layer", "wiring"});
      append(wiring.reference, "has norms in other places of a layer");
      append(wiring.donor, "as the donor's layer calls them");
      append(wiring.change, "place each norm where the reference's layer calls it");
    }
    if (!group.mismatch.empty()) note_mismatch(draft, group);
    for (const auto* names : {&group.surplus, &group.missing, &group.mismatched}) {
      for (const auto& [pattern, layers] : *names) draft.tensors.push_back(pattern);
    }
  }

  // The audit's line: "path: expected A from config.json, found B in file".
  void note_mismatch(Draft& draft, const TensorGroup& group) const {
    const std::string& line = group.mismatch;
    const auto between = [&](std::string_view from, std::string_view to) {
      const size_t at = line.find(from);
      if (at == std::string::npos) return std::string();
      const size_t begin = at + from.size();
      return line.substr(begin, line.find(to, begin) - begin);
    };
    const std::string names = shown_names(group.mismatched, n_layers_);
    append(draft.reference, fmt::format("stores {} as {}", names, between("found ", " in ")));
    append(draft.donor, fmt::format("expects {}", between("expected ", " from ")));
    append(draft.change, "derive the shape as the reference does");
  }

  void note_substitutions() {
    for (const Substitution& s : donor_.substitutions) note_substitution(s);
  }

  void note_substitution(const Substitution& s) {
    const Topic topic = topic_of_key(s.key);
    const auto* value = value_at(candidate_.config, s.key);
    switch (s.why) {
      case Why::kRefused: {
        Draft& draft = structural(topic);
        draft.keys.push_back(s.key);
        append(draft.reference,
               fmt::format("{} = {}", s.key, value == nullptr ? "as set" : shown_value(*value)));
        append(draft.donor, s.text);
        append(draft.change, "implement the value");
        return;
      }
      case Why::kRequired: {
        Draft& draft = structural(topic);
        draft.keys.push_back(s.key);
        append(draft.reference, fmt::format("has no {}", s.key));
        append(draft.donor, fmt::format("requires {}", s.key));
        append(draft.change, "leave out what the key is for");
        return;
      }
      case Why::kAlias: {
        Draft& draft = cosmetic({"config", "names of keys"});
        draft.keys.push_back(s.text);
        append(draft.reference, fmt::format("says {}", s.text));
        append(draft.donor, fmt::format("says {}", s.key));
        append(draft.change, fmt::format("read {} for {}", s.text, s.key));
        return;
      }
      case Why::kDefault: {
        Draft& draft = cosmetic(topic);
        draft.keys.push_back(s.key);
        append(draft.reference, fmt::format("has no {}, and fits {}", s.key, s.text));
        append(draft.donor, fmt::format("has another default of {}", s.key));
        append(draft.change, fmt::format("make {} the default", s.text));
        return;
      }
      case Why::kAssumed: {
        Draft& draft = cosmetic(topic);
        draft.keys.push_back(s.key);
        append(draft.reference, fmt::format("has no {}: taken as {}", s.key, s.text));
        append(draft.donor, fmt::format("has another default of {}", s.key));
        append(draft.change, "take the default of the reference's config class");
        return;
      }
    }
  }

  void note_keys() {
    for (const std::string& key : donor_.unread) {
      const auto* value = value_at(candidate_.config, key);
      if (value == nullptr) continue;
      const std::string top = key.substr(0, key.find('.'));
      if (is_off(key, *value, candidate_.config)) continue;
      const Topic topic = topic_of_key(key);
      // What tensors of the topic show already is one difference with them.
      const bool is_structure =
          drafts_.contains(topic) || (is_structural(top, *value) && !is_done(key, *value));
      Draft& draft = is_structure ? structural(topic) : cosmetic(topic);
      draft.keys.push_back(key);
      draft.unread.push_back(key);
      append(draft.reference, fmt::format("{} = {}", key, shown_value(*value)));
      if (draft.change.empty()) draft.change = "do what the reference does with it";
    }
  }

  // Whether the donor does, without asking, what a key of true asks for.
  bool is_done(const std::string& key, const nlohmann::ordered_json& value) const {
    return value == true && std::ranges::any_of(donor_.traits, [&](const Trait& trait) {
             return trait.is_evidence(key);
           });
  }

  void note_traits() {
    for (const Trait& trait : donor_.traits) {
      if (trait.is_asked) continue;
      // Of its own family nothing says that the model does without what no key controls; only the
      // sources can.
      const auto controls = [&](const std::string& key) { return trait.is_evidence(key); };
      if (is_related_ && std::ranges::none_of(donor_.missed, controls)) continue;
      Draft& draft = structural({trait.part, trait.aspect});
      append(draft.donor, trait.text);
      append(draft.reference,
             fmt::format("has no key that asks for what the donor does: {}", trait.text));
      append(draft.change, "leave it out, unless the reference's source has it");
    }
  }

  const Candidate& candidate_;
  DonorTrace donor_;
  int64_t n_layers_ = 0;
  bool is_related_ = false;
  std::map<Topic, Draft> drafts_;
};

struct Ranked {
  DonorReport report;
  size_t n_spare = 0;
  bool is_related = false;

  auto key() const {
    const size_t n = report.n_structural();
    return std::tuple(n, report.deltas.size() - n, !is_related, n_spare,
                      std::string_view(report.slug));
  }
};

}  // namespace

size_t DonorReport::n_structural() const {
  return static_cast<size_t>(
      std::ranges::count(deltas, Delta::Kind::kStructural, [](const Delta& d) { return d.kind; }));
}

void number_deltas(std::vector<Delta>& deltas) {
  std::ranges::stable_sort(deltas, {}, [](const Delta& d) {
    return std::tuple(d.kind == Delta::Kind::kCosmetic, order_of_part(d.part));
  });
  for (size_t i = 0; i < deltas.size(); ++i) deltas[i].number = static_cast<int>(i) + 1;
}

DonorReport compare_donor(const ModelFacts& facts, const LockstepArchitecture& donor) {
  const Candidate candidate = Candidate::of(facts);
  return {donor.slug, donor.class_name, Comparison(candidate, donor).deltas()};
}

std::vector<DonorReport> rank_donors(const ModelFacts& facts, const Registry& registry) {
  const Candidate candidate = Candidate::of(facts);
  std::vector<Ranked> all;
  for (const Registry::Entry& entry : registry.entries()) {
    const LockstepArchitecture& donor = *entry.architecture;
    if (donor.class_name == facts.class_name) continue;
    const Comparison comparison(candidate, donor);
    all.push_back({{donor.slug, donor.class_name, comparison.deltas()},
                   comparison.n_spare(),
                   comparison.is_related()});
  }
  std::ranges::stable_sort(all, {}, &Ranked::key);
  std::vector<DonorReport> reports;
  for (Ranked& ranked : all) reports.push_back(std::move(ranked.report));
  return reports;
}

}  // namespace lockstep::port
