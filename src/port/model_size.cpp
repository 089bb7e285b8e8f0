#include "port/model_size.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace lockstep::port {
namespace {

// The first of these keys that is a number above 0.
double count(const ConfigKeys& keys, std::initializer_list<const char*> names, double otherwise) {
  for (const char* name : names) {
    const double value = keys.number(name, 0);
    if (value > 0 && value < 1e9) return value;
  }
  return otherwise;
}

std::string in_words(double parameters) {
  if (parameters >= 1e9) return fmt::format("{:.2f} billion", parameters / 1e9);
  return parameters >= 1e6 ? fmt::format("{:.2f} million", parameters / 1e6)
                           : fmt::format("{:.0f}", parameters);
}

double bytes_per_parameter(const ConfigKeys& keys) {
  const ConfigKey* method = keys.at("quantization_config.quant_method");
  if (method != nullptr && method->text() == "fp8") return 1;
  for (const char* name : {"dtype", "torch_dtype"}) {
    const ConfigKey* key = keys.find(name);
    if (key == nullptr) continue;
    if (key->text() == "float32") return 4;
    if (key->text().starts_with("float8")) return 1;
  }
  return 2;
}

}  // namespace

ModelSize size_of(const ModelFacts& facts, const ConfigKeys& keys) {
  ModelSize stored;
  for (const TensorEntry& entry : facts.tensors.tensors) {
    const uint64_t bytes = entry.end - entry.begin;
    const uint64_t n_elements = bytes / dtype_size(entry.dtype);
    stored.bytes += bytes;
    stored.parameters += static_cast<double>(n_elements);
  }
  stored.evidence =
      fmt::format("{}, {} parameters", counted(facts.tensors.tensors.size(), "tensor"),
                  in_words(stored.parameters));

  // Of a decoder: attention of four square matrices, an MLP of three, once or once an expert.
  const double width = count(keys, {"hidden_size", "n_embd", "d_model", "dim"}, 0);
  const double layers = count(keys, {"num_hidden_layers", "n_layer", "n_layers", "num_layers"}, 0);
  const double experts =
      count(keys, {"n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"}, 1);
  const double inner = count(keys, {"intermediate_size", "ffn_hidden_size", "n_inner"}, 4 * width);
  const double inner_of_experts =
      experts > 1 ? count(keys, {"moe_intermediate_size", "expert_dim"}, inner) : inner;
  const double vocabulary = count(keys, {"vocab_size"}, 0);
  ModelSize told;
  told.is_estimate = true;
  told.parameters =
      layers * (2.5 * width * width + 3 * width * inner_of_experts * experts) + vocabulary * width;
  told.bytes = static_cast<uint64_t>(std::min(told.parameters * bytes_per_parameter(keys), 1e18));
  told.evidence = fmt::format(
      "config.json: {:.0f} layers of {:.0f} channels{}, roughly {} parameters", layers, width,
      experts > 1 ? fmt::format(", {:.0f} experts of {:.0f}", experts, inner_of_experts) : "",
      in_words(told.parameters));
  return 2 * stored.parameters < told.parameters ? told : stored;
}

}  // namespace lockstep::port
