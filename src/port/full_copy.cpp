// A port that is its donor's source, under the port's names and without the donor's comments.
#include <fmt/format.h>

#include <algorithm>

#include "port/port_sources.h"
#include "port/source_parts.h"

namespace lockstep::port {
namespace {

enum class Place { kConfig, kParts, kModel };

// Where each declaration goes: the configuration and what it needs, the parts, the whole.
std::vector<Place> places_of(const PortPlan& plan) {
  const std::vector<Chunk>& chunks = plan.donor.chunks;
  std::vector<Place> places(chunks.size(), Place::kParts);
  size_t config = 0;
  while (config < chunks.size() && chunks[config].name != plan.donor.config()) ++config;
  bool is_whole = false;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const std::string& name = chunks[i].name;
    is_whole = is_whole || name == plan.donor.family || name == plan.donor.class_name ||
               (plan.donor.family.empty() && name.ends_with("Model"));
    places[i] = i <= config ? Place::kConfig : is_whole ? Place::kModel : Place::kParts;
  }
  return places;
}

const PartNames& deltas_at(const std::string& name) {
  static const PartNames kAttention = {"attention", "positions", "cache"};
  static const PartNames kMlp = {"mlp", "experts"};
  static const PartNames kLayer = {"layer", "norm"};
  static const PartNames kNone = {};
  if (name == "Attention" || name == "Mixer") return kAttention;
  if (name == "MLP" || name == "MoE" || name == "FeedForward") return kMlp;
  if (name.ends_with("Layer") || name.ends_with("Block")) return kLayer;
  return kNone;
}

class Copy {
 public:
  explicit Copy(const PortPlan& plan) : plan_(plan), places_(places_of(plan)) {}

  Sources sources() {
    const std::string parts = text_of(Place::kParts);
    Sources sources;
    sources["arch.cpp"] = arch_source(plan_);
    sources["weight_adapters.h"] = weight_adapters(plan_);
    sources["model_config.h"] = config_header();
    sources[plan_.slug + ".h"] =
        header("The parts of " + plan_.class_name + ".", "model_config.h", leftover() + parts);
    sources["model.h"] = header(plan_.class_name + ", the whole model.", plan_.slug + ".h",
                                todos(plan_, {"head"}, "") + text_of(Place::kModel));
    return sources;
  }

 private:
  // The declarations of one place, each TODO in the first struct that it is about.
  std::string text_of(Place place) {
    std::string out;
    for (size_t i = 0; i < places_.size(); ++i) {
      if (places_[i] != place) continue;
      const Chunk& chunk = plan_.donor.chunks[i];
      std::string text = renamed(plan_, chunk.text);
      if (place == Place::kParts) text = with_todos(chunk.name, std::move(text));
      out += text + "\n";
    }
    return out;
  }

  std::string with_todos(const std::string& name, std::string text) {
    std::string notes;
    for (const std::string_view part : deltas_at(name)) {
      if (std::ranges::find(noted_, part) != noted_.end()) continue;
      noted_.emplace_back(part);
      notes += todos(plan_, {part}, "  ");
    }
    const std::string forward = forward_of(text);
    const size_t at = forward.empty() ? text.find('\n') + 1 : text.find(forward);
    return text.insert(at, notes);
  }

  // The TODOs of parts for which the donor has no struct.
  std::string leftover() const {
    std::string out;
    for (const std::string_view part :
         {"attention", "positions", "cache", "mlp", "experts", "layer", "norm"}) {
      if (std::ranges::find(noted_, part) == noted_.end()) out += todos(plan_, {part}, "");
    }
    return out;
  }

  std::string header(const std::string& what, const std::string& included,
                     const std::string& body) const {
    return opening(plan_, what) +
           fmt::format(
               "#pragma once\n\n#include \"{}\"\n\nnamespace lockstep::{} {{\n\n{}}}  // "
               "namespace lockstep::{}\n",
               included, plan_.space(), body, plan_.space());
  }

  std::string config_header() {
    std::string out = opening(
        plan_, fmt::format("The keys of config.json that {} reads, with the defaults of the "
                           "reference's config class.",
                           plan_.class_name));
    out += "#pragma once\n\n";
    for (const std::string& include : plan_.donor.includes) out += "#include " + include + "\n";
    out += fmt::format("{}#include \"lockstep/lockstep.h\"\n\nnamespace lockstep::{} {{\n\n",
                       plan_.donor.includes.empty() ? "" : "\n", plan_.space());
    return out + todos(plan_, {"config"}, "") + readable_function(plan_) + "\n" +
           text_of(Place::kConfig) + fmt::format("}}  // namespace lockstep::{}\n", plan_.space());
  }

  const PortPlan& plan_;
  std::vector<Place> places_;
  std::vector<std::string> noted_;
};

}  // namespace

Sources copied_sources(const PortPlan& plan) { return Copy(plan).sources(); }

}  // namespace lockstep::port
