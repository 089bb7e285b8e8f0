// Walls of what kind of model it is: encoders, wrappers, diffusion, classes without a head.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "port/wall_check.h"

namespace lockstep::port {
namespace {

using Kind = ConfigFile::Kind;
using Level = Wall::Level;

// Shapes that do not fit come before what the port itself said.
std::string last_reason(const std::string& refusal) {
  constexpr std::string_view kThen = "and then: ";
  const size_t at = refusal.find(kThen);
  const size_t begin = at == std::string::npos ? 0 : at + kThen.size();
  return refusal.substr(begin, refusal.find('\n', begin) - begin);
}

bool is_count(const ConfigKey& key) {
  return key.node->kind == Kind::kInt || key.node->kind == Kind::kFloat;
}

// The configuration of another sense: {"vision_config": {...}}, {"visual": {...}}.
const ConfigKey* sense_of(const ConfigKeys& keys) {
  constexpr std::array kSenses = {"vision", "visual", "audio", "speech", "image", "video"};
  const auto found = std::ranges::find_if(keys.all(), [&](const ConfigKey& key) {
    const bool is_sense =
        std::ranges::any_of(kSenses, [&](const char* part) { return contains(key.name, part); });
    const bool is_model = key.node->kind == Kind::kObject || contains(key.name, "tower") ||
                          contains(key.name, "token_i") || contains(key.name, "encoder");
    return is_sense && is_model && key.is_set() && contains(key.path, ".") == false;
  });
  return found == keys.all().end() ? nullptr : &*found;
}

std::string sense_evidence(const WallContext& context) {
  if (const ConfigKey* key = sense_of(context.keys)) return key->shown();
  const std::string name = context.tensor(
      {"*vision_tower*", "*vision_model*", "visual.*", "model.visual.*", "*audio_tower*",
       "*vision_encoder*", "*multi_modal_projector*", "*mm_projector*", "*image_newline*"});
  if (!name.empty()) return "tensor " + name;
  const std::string& root = context.keys.text_root();
  return root.empty() ? "" : fmt::format("{} = {{...}}", root);
}

// The registered architecture that the text model is: by its model_type, under the names that
// transformers gives text models inside wrappers.
const LockstepArchitecture* text_architecture(const WallContext& context) {
  const ConfigKey* key = context.keys.find("model_type");
  if (key == nullptr) return nullptr;
  std::vector<std::string> names = {key->text()};
  for (const char* part : {"_text", "_vl", "_omni"}) {
    std::string name = names.back();
    if (const size_t at = name.find(part); at != std::string::npos) {
      names.push_back(name.erase(at, std::string_view(part).size()));
    }
  }
  names.push_back(names.front() + "_text");
  for (const std::string& name : names) {
    for (const Registry::Entry& entry : context.registry.entries()) {
      if (entry.architecture->slug == name) return entry.architecture;
    }
  }
  return nullptr;
}

bool is_two_encoders(const WallContext& context) {
  constexpr std::array kTypes = {"clip", "siglip", "align", "blip_text", "flava"};
  const ConfigKey* key = context.keys.find("model_type");
  const std::string text = key == nullptr ? "" : key->text();
  return std::ranges::any_of(kTypes, [&](const char* type) {
    return text.starts_with(type) || lower_case(context.facts.model_type).starts_with(type);
  });
}

bool has_text_sizes(const ConfigKeys& keys) {
  constexpr std::array kNames = {"num_hidden_layers", "hidden_size", "vocab_size", "n_layer",
                                 "n_layers",          "n_embd",      "d_model",    "model_type"};
  // Of a wrapper without a nested configuration, model_type is the wrapper's.
  return std::ranges::any_of(kNames, [&](std::string_view name) {
    return (name != "model_type" || !keys.text_root().empty()) && keys.find(name) != nullptr;
  });
}

}  // namespace

void check_encoder_decoder(const WallContext& context, Walls& walls) {
  constexpr std::array kTypes = {"t5",       "mt5",        "umt5",           "bart",
                                 "mbart",    "pegasus",    "marian",         "whisper",
                                 "m2m_100",  "longt5",     "fsmt",           "prophetnet",
                                 "nllb_moe", "blenderbot", "encoder_decoder"};
  const ConfigKey* key = context.first([&](const ConfigKey& k) {
    if (k.name == "is_encoder_decoder" || k.name == "num_decoder_layers") return true;
    if (k.name == "encoder_layers" || k.name == "num_encoder_layers") return is_count(k);
    if (k.name == "add_cross_attention") return true;
    if (k.name == "encoder" || k.name == "encoder_config") return k.node->kind == Kind::kObject;
    const auto is_type = [&](const char* type) { return k.text() == type; };
    return k.name == "model_type" && std::ranges::any_of(kTypes, is_type);
  });
  std::string evidence = key == nullptr ? "" : key->shown();
  if (evidence.empty() && !context.is_complete && sense_evidence(context).empty()) {
    const std::string encoder = context.tensor({"encoder.*", "model.encoder.layers.*"});
    const std::string decoder = context.tensor({"decoder.*", "model.decoder.*"});
    if (!encoder.empty() && !decoder.empty()) evidence = "tensor " + encoder;
  }
  if (evidence.empty()) return;
  walls.push_back({context.block(), "encoder_decoder",
                   "an encoder beside the decoder: this build runs decoders alone", evidence,
                   "choose a decoder of the family; attention to an encoder's output has no op and "
                   "the server no second input"});
}

void check_multimodal(const WallContext& context, Walls& walls) {
  if (context.is_backbone) return;
  const std::string evidence = sense_evidence(context);
  if (evidence.empty()) return;
  if (is_two_encoders(context) || !has_text_sizes(context.keys)) {
    walls.push_back({context.block(), "multimodal",
                     "no part of it is a language model: there is no text backbone to port",
                     evidence, "this build writes text; choose a model that does"});
    return;
  }
  const LockstepArchitecture* text = text_architecture(context);
  walls.push_back(
      {Level::kWarn, "multimodal",
       text != nullptr
           ? fmt::format("a wrapper: its text model can be ported, as {}", text->class_name)
           : "a wrapper: its text model can be ported, as an architecture of its own",
       evidence,
       fmt::format("lockstep/nn/text_backbone.h: TextBackbone<{}> reads text_config, takes the "
                   "wrapper's prefixes off and leaves what sees or hears aside",
                   text != nullptr ? fmt::format("{}::{}", text->slug, text->class_name)
                                   : "the text model's class")});
}

void check_diffusion(const WallContext& context, Walls& walls) {
  constexpr std::array kTypes = {"llada", "dream", "sdar", "mdlm", "bd3lm", "dit", "unet"};
  const std::string model_type = lower_case(context.facts.model_type);
  const std::string class_name = lower_case(context.facts.class_name);
  std::string evidence;
  if (context.has_file("model_index.json")) evidence = "file model_index.json";
  if (evidence.empty()) {
    const ConfigKey* key = context.first([&](const ConfigKey& k) {
      return contains(k.name, "diffusion") || k.name == "_diffusers_version" ||
             contains(k.name, "noise_schedule") || contains(k.name, "denois") ||
             (k.name == "_class_name" && k.node->kind == Kind::kString);
    });
    if (key != nullptr) evidence = key->shown();
  }
  const auto is_type = [&](std::string_view type) {
    return model_type == type || model_type.starts_with(fmt::format("{}_", type)) ||
           (type.size() > 4 && class_name.starts_with(type));
  };
  if (evidence.empty() &&
      (contains(model_type, "diffusion") || std::ranges::any_of(kTypes, is_type))) {
    evidence = fmt::format("model_type = \"{}\"", model_type);
  }
  if (evidence.empty() && contains(class_name, "diffusion")) {
    evidence = "architectures.0 = \"" + context.facts.class_name + "\"";
  }
  if (evidence.empty()) return;
  walls.push_back({context.block(), "diffusion",
                   "it writes by denoising, not one token after the other", evidence,
                   "attention here is causal and generation goes token by token; choose an "
                   "autoregressive model"});
}

void check_architectures(const WallContext& context, Walls& walls) {
  const ConfigFile& config = context.facts.config;
  const ConfigKey* key = context.keys.at("architectures");
  const auto block = [&](std::string message, std::string way_out) {
    walls.push_back({Level::kBlock, "architectures_shape", std::move(message),
                     key == nullptr ? "architectures: no such key" : key->shown(),
                     std::move(way_out)});
  };
  if (key == nullptr || key->node->kind != Kind::kArray || key->node->elements.empty() ||
      key->node->elements[0]->kind != Kind::kString || key->node->elements[0]->text.empty()) {
    block("no class is named: nothing says which code the checkpoint is of",
          fmt::format("put the reference's class into {}, as \"architectures\": "
                      "[\"XForCausalLM\"]; the card or model_type \"{}\" tells which",
                      config.file(), context.facts.model_type));
    return;
  }
  if (key->node->elements.size() > 1) {
    walls.push_back({Level::kWarn, "architectures_shape",
                     "several classes are named: the first one counts", key->shown(),
                     "check that the weights are of the first, or put the right one there"});
  }
  const std::string& name = context.facts.class_name;
  if (context.architecture != nullptr) {
    if (!context.refusal.empty() && context.facts.no_tensors.empty()) {
      walls.push_back({Level::kWarn, "architectures_shape",
                       fmt::format("{} is registered, but does not take this config.json", name),
                       last_reason(context.refusal),
                       "see `lockstep graph MODEL`; a variant of the class is a port of its own"});
    }
    return;
  }
  for (const char* end : {"ForMaskedLM", "ForSequenceClassification", "ForTokenClassification",
                          "ForQuestionAnswering", "ForMultipleChoice", "ForImageClassification",
                          "ForAudioClassification", "ForCTC", "ForRewardModel"}) {
    if (name.ends_with(end)) {
      block("its head writes no text", "choose the checkpoint of the family's ForCausalLM class");
      return;
    }
  }
  if (name.ends_with("Model") && !name.ends_with("LMHeadModel")) {
    walls.push_back({Level::kWarn, "architectures_shape",
                     "the class is a model without a head: it gives no logits", key->shown(),
                     "choose the checkpoint of the family's ForCausalLM class, or name that class "
                     "where the head is tied or stored"});
  }
}

}  // namespace lockstep::port
