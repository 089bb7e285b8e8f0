// A port that inherits its donor: the parts in which the reference differs have a struct of their
// own, which begins as the donor's.
#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "port/port_sources.h"
#include "port/source_parts.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

// The parts of a delta, by the struct that they change.
const PartNames kOfAttention = {"attention", "positions", "cache"};
const PartNames kOfMlp = {"mlp", "experts"};
const PartNames kOfLayer = {"layer", "norm"};
const PartNames kOfHead = {"head"};
const PartNames kOfConfig = {"config"};

// "llama::Attention" -> "Attention"; "PreNormLayer<Llama>" -> "PreNormLayer".
std::string bare_name(const std::string& name) {
  const std::string head = name.substr(0, name.find('<'));
  const size_t at = head.rfind("::");
  return at == std::string::npos ? head : head.substr(at + 2);
}

class Skeleton {
 public:
  explicit Skeleton(const PortPlan& plan) : plan_(plan), donor_(plan.donor) {
    attention_ = part_named({"Attention", "Mixer"});
    mlp_ = part_named({"MLP"});
    layer_ = donor_.parts.contains("Layer") ? donor_.parts.at("Layer") : "";
    copies_layer_ = donor_.find(bare_name(layer_)) != nullptr;
    if (mlp_.empty()) mlp_ = inner_mlp();
  }

  Sources sources() const {
    Sources sources;
    sources["arch.cpp"] = arch_source(plan_);
    sources["model_config.h"] = config_header();
    sources["weight_adapters.h"] = weight_adapters(plan_);
    sources[plan_.slug + ".h"] = parts_header();
    sources["model.h"] = model_header();
    return sources;
  }

 private:
  bool has_family() const { return !donor_.family.empty(); }
  std::string own_config() const {
    const std::string name = renamed(plan_, donor_.config());
    return name == donor_.config() ? plan_.stem() + name : name;
  }
  std::string family() const {
    return plan_.stem() == plan_.class_name ? plan_.stem() + "Family" : plan_.stem();
  }
  std::string begin() const {
    return fmt::format("namespace lockstep::{} {{\n\nusing namespace lockstep::{};\n\n",
                       plan_.space(), donor_.slug);
  }
  std::string end() const { return fmt::format("}}  // namespace lockstep::{}\n", plan_.space()); }

  std::string part_named(const PartNames& names) const {
    for (const std::string_view name : names) {
      const auto at = donor_.parts.find(std::string(name));
      if (at != donor_.parts.end()) return at->second;
    }
    for (const std::string_view name : names) {
      if (has_family() && donor_.find(name) != nullptr) return std::string(name);
    }
    return "";
  }
  // The MLP that a layer of the donor's own has.
  std::string inner_mlp() const {
    if (!copies_layer_) return "";
    for (const char* name : {"FeedForward", "MoE", "MLP"}) {
      if (donor_.find(name) != nullptr) return name;
    }
    return "";
  }

  std::string qualified(const std::string& part) const {
    const std::string name = bare_name(part);
    return donor_.find(name) == nullptr ? part : fmt::format("{}::{}", donor_.slug, name);
  }

  // forward() of a part, the donor's own or that of what it derives from.
  std::string inherited_forward(const std::string& part) const {
    std::string name = bare_name(part);
    for (int depth = 0; depth < 3; ++depth) {
      const Chunk* chunk = donor_.find(name);
      if (chunk == nullptr) {
        const auto at = std::ranges::find(plan_.sdk, name, &Chunk::name);
        chunk = at == plan_.sdk.end() ? nullptr : &*at;
      }
      if (chunk == nullptr) return "";
      if (std::string text = forward_of(chunk->text); !text.empty()) return text;
      name = bare_name(chunk->base);
    }
    return "";
  }

  std::string class_of(const std::string& part, const char* fallback) const {
    const Chunk* chunk = donor_.find(bare_name(part));
    const std::string text = chunk == nullptr ? "" : renamed(plan_, chunk->text);
    constexpr std::string_view kKey = "kClass = \"";
    const size_t at = text.find(kKey);
    if (at == std::string::npos) return plan_.stem() + fallback;
    const size_t begin = at + kKey.size();
    return text.substr(begin, text.find('"', begin) - begin);
  }

  // A part that begins as the donor's; with deltas, its forward() stands there to be changed.
  std::string part_struct(const std::string& part, const std::string& base, const PartNames& deltas,
                          const char* fallback_class) const {
    const std::string name = bare_name(part);
    const std::string forward = inherited_forward(part);
    std::string out = fmt::format("struct {0} : ModuleFrom<{0}, {1}> {{\n", name, base);
    if (!forward.empty()) {
      out += fmt::format("  static constexpr const char* kClass = {};\n",
                         cpp_literal(class_of(part, fallback_class)));
    }
    out += "  using ModuleFrom::ModuleFrom;\n";
    if (has_delta(plan_, deltas)) {
      out += "\n" + todos(plan_, deltas, "  ");
      if (!forward.empty()) {
        out += fmt::format("  // As {}::forward(); change it where the reference differs.\n", base);
        out += forward;
      } else {
        out.pop_back();
      }
    }
    return out + "};\n\n";
  }

  // The donor's own layer, as source: it names the parts, which are the port's here.
  std::string copied_layer() const {
    const Chunk& chunk = *donor_.find(bare_name(layer_));
    std::string text = renamed(plan_, chunk.text);
    const std::string forward = forward_of(text);
    const PartNames all = {"layer", "norm", "mlp", "experts"};
    const PartNames own = {"layer", "norm"};
    const std::string notes = todos(plan_, mlp_.empty() ? all : own, "  ");
    if (const size_t at = text.find(forward); !forward.empty() && at != std::string::npos) {
      text.insert(at, notes);
      return text + "\n";
    }
    return notes + text + "\n";
  }

  std::string config_header() const {
    std::string out = opening(
        plan_, fmt::format("The keys of config.json that {} reads, with the defaults of the "
                           "reference's config class.",
                           plan_.class_name));
    out +=
        fmt::format("#pragma once\n\n#include \"lockstep/archs/{}.h\"\n\n", donor_.slug) + begin();
    out += todos(plan_, kOfConfig, "") + readable_function(plan_);
    if (has_family()) {
      out += fmt::format(
          "\nstruct {0} : {1}::{2} {{\n  explicit {0}(const Config& c) : {2}(c) {{}}\n}};\n",
          own_config(), donor_.slug, donor_.config());
    }
    return out + "\n" + end();
  }

  std::string parts_header() const {
    std::string out = opening(plan_, fmt::format("The parts of {}.", plan_.class_name));
    out += "#pragma once\n\n#include \"model_config.h\"\n\n" + begin();
    if (!has_family()) {
      out += fmt::format(
          "// The parts lie inside {0}::{1}, which is inherited whole: where one has to change,\n"
          "// lockstep scaffold --full-copy has them as sources.\n\n",
          donor_.slug, donor_.class_name);
      return out +
             todos(plan_, {"attention", "positions", "cache", "mlp", "experts", "layer", "norm"},
                   "") +
             end();
    }
    if (!attention_.empty()) {
      out += part_struct(attention_, qualified(attention_), kOfAttention, "Attention");
    } else {
      out += todos(plan_, kOfAttention, "");
    }
    if (has_own_mlp()) out += part_struct(mlp_, qualified(mlp_), kOfMlp, "MLP");
    if (copies_layer_) out += copied_layer();
    if (layer_.empty()) out += todos(plan_, {"layer", "norm", "mlp", "experts"}, "");
    return out + end();
  }

  bool has_own_mlp() const {
    if (mlp_.empty()) return false;
    return has_delta(plan_, kOfMlp) || donor_.find(bare_name(mlp_)) != nullptr;
  }
  bool has_own_layer() const { return copies_layer_ || has_delta(plan_, kOfLayer); }

  // The names of the reference's classes, of those that the donor's family has.
  std::string family_names() const {
    const std::string& text = donor_.find(donor_.family)->text;
    std::string out;
    for (size_t at = text.find("\n  static constexpr const char* k"); at != std::string::npos;
         at = text.find("\n  static constexpr const char* k", at + 1)) {
      std::string line = text.substr(at + 1, text.find('\n', at + 1) - at);
      if (line.find(" kCausalLM ") != std::string::npos) {
        line = fmt::format("  static constexpr const char* kCausalLM = {};\n",
                           cpp_literal(plan_.class_name));
      }
      out += renamed(plan_, line);
    }
    return out;
  }

  std::string family_struct() const {
    const std::string space = plan_.space();
    std::string out = fmt::format("struct {} : {}::{} {{\n", family(), donor_.slug, donor_.family);
    out += family_names() + fmt::format("  using Config = {};\n", own_config());
    if (!attention_.empty() && !copies_layer_) {
      const std::string name = bare_name(attention_);
      out += fmt::format("  using {0} = {1}::{0};\n", name, space);
    }
    if (has_own_mlp() && !copies_layer_) {
      out += fmt::format("  using MLP = {}::{};\n", space, bare_name(mlp_));
    }
    if (!layer_.empty()) {
      out += has_own_layer()
                 ? fmt::format("  using Layer = {}::{};\n", space, layer_name())
                 : fmt::format("  using Layer = {}<{}>;\n", bare_name(layer_), family());
    }
    if (has_delta(plan_, kOfHead)) {
      out += "\n" + todos(plan_, kOfHead, "  ");
      out += fmt::format(
          "  // `static Value logits(const {0}& c, const Value& x)` says what becomes of the "
          "head's\n"
          "  // outputs, `static Value embedded(const {0}& c, const Value& x)` of the "
          "embeddings.\n",
          own_config());
    }
    return out + "};\n\n";
  }

  std::string layer_name() const { return copies_layer_ ? bare_name(layer_) : "DecoderLayer"; }

  // The whole model under its own name.
  std::string whole_model() const {
    std::string text = renamed(plan_, donor_.model().text);
    return with_word(text, renamed(plan_, donor_.family), family());
  }

  std::string model_header() const {
    std::string out = opening(plan_, fmt::format("{}, the whole model.", plan_.class_name));
    out += fmt::format("#pragma once\n\n#include \"{}.h\"\n\n", plan_.slug) + begin();
    if (!has_family()) {
      out += todos(plan_, kOfHead, "");
      return out +
             fmt::format(
                 "struct {0} : ModuleFrom<{0}, {1}::{2}> {{\n"
                 "  static constexpr const char* kClass = \"{0}\";\n"
                 "  using ModuleFrom::ModuleFrom;\n}};\n\n",
                 plan_.class_name, donor_.slug, donor_.class_name) +
             end();
    }
    const bool is_forward = !copies_layer_ && !layer_.empty() && has_own_layer();
    if (is_forward) out += "struct DecoderLayer;\n\n";
    out += family_struct();
    if (is_forward) {
      const std::string base = fmt::format("{}<{}>", bare_name(layer_), family());
      std::string text = part_struct(layer_, base, kOfLayer, "DecoderLayer");
      out += with_word(text, fmt::format("struct {}", bare_name(layer_)), "struct DecoderLayer");
      const std::string from = fmt::format("ModuleFrom<{},", bare_name(layer_));
      out.replace(out.rfind(from), from.size(), "ModuleFrom<DecoderLayer,");
    }
    return out + whole_model() + "\n" + end();
  }

  const PortPlan& plan_;
  const DonorSource& donor_;
  std::string attention_, mlp_, layer_;  // as the donor's family names them
  bool copies_layer_ = false;
};

}  // namespace

std::vector<Chunk> sdk_chunks(const fs::path& sdk) {
  std::vector<Chunk> chunks;
  for (const fs::directory_entry& entry : fs::directory_iterator(sdk / "lockstep" / "nn")) {
    for (Chunk& chunk : chunks_of(read_text_file(entry.path()))) chunks.push_back(std::move(chunk));
  }
  return chunks;
}

Sources skeleton_sources(const PortPlan& plan) { return Skeleton(plan).sources(); }

}  // namespace lockstep::port
