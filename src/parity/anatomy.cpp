#include "parity/anatomy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace lockstep::parity {
namespace {

template <size_t N>
bool one_of(std::string_view word, const std::array<std::string_view, N>& words) noexcept {
  return std::find(words.begin(), words.end(), word) != words.end();
}

constexpr std::array<std::string_view, 12> kEmbeddings = {
    "embed_tokens",   "wte",   "word_embeddings", "embeddings", "embed_in",   "tok_embeddings",
    "word_embedding", "embed", "embedding",       "tok_emb",    "post_embed", "token_embedding"};
constexpr std::array<std::string_view, 13> kFinalNorms = {
    "norm",           "ln_f",     "final_layernorm", "final_layer_norm", "norm_f",
    "embedding_norm", "ln_out",   "final_norm",      "post_final_norm",  "norm_out",
    "ln_final",       "final_ln", "last_norm"};
constexpr std::array<std::string_view, 5> kHeads = {"lm_head", "embed_out", "output", "head",
                                                    "score"};

std::optional<int> as_number(std::string_view text) noexcept {
  int value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || ec != std::errc{} || end != text.data() + text.size() || value < 0) return {};
  return value;
}

std::string_view last_component(std::string_view path) noexcept {
  const size_t cut = path.find_last_of("./");
  return cut == std::string_view::npos ? path : path.substr(cut + 1);
}

/// The base model under whatever name: a module of the top level that is no other landmark.
bool is_base_model(std::string_view path) noexcept {
  return !path.empty() && path[0] != '@' && path != "logits" &&
         path.find_first_of("./") == path.npos;
}

}  // namespace

std::string_view parent_path(std::string_view path) noexcept {
  const size_t cut = path.find_last_of("./");
  return cut == std::string_view::npos ? std::string_view() : path.substr(0, cut);
}

Anatomy dissect(std::string_view path) noexcept {
  Anatomy out;
  out.inner = path;
  const std::string_view last = last_component(path);
  out.shared = path.find("rotary_emb") != path.npos || path.find("mask") != path.npos ||
               path.find("position") != path.npos || path.find("alibi") != path.npos;
  const size_t experts = path.find(".experts.");
  out.dispatch = experts != path.npos || path.find("block_sparse_moe.input_linear") != path.npos ||
                 path.find("block_sparse_moe.output_linear") != path.npos ||
                 path.find("block_sparse_moe.activation") != path.npos;
  out.routing = path.find("router") != path.npos || path.find("expert") != path.npos ||
                path.find("topk") != path.npos || last == "gate" || last == "selected";
  if (path.rfind("layer_", 0) == 0) {
    if (const auto n = as_number(path.substr(6))) {
      out.layer = *n;
      out.inner = {};
      out.landmark = Landmark::kLayer;
      return out;
    }
  }
  // The first numbered component is the layer; experts are numbered further down.
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find_first_of("./", begin), path.size());
    if (const auto n = as_number(path.substr(begin, end - begin)); n && begin > 0) {
      out.layer = *n;
      out.inner = end < path.size() ? path.substr(end + 1) : std::string_view();
      if (out.inner.empty()) out.landmark = Landmark::kLayer;
      return out;
    }
    begin = end + 1;
  }
  if (path.find('/') != path.npos) return out;
  if (one_of(last, kEmbeddings)) {
    out.landmark = Landmark::kEmbedding;
  } else if (one_of(last, kFinalNorms)) {
    out.landmark = Landmark::kFinalNorm;
  } else if (one_of(last, kHeads)) {
    out.landmark = Landmark::kHead;
  } else if (path == "model.decoder" || path == "model.language_model" ||
             (!out.shared && is_base_model(path))) {
    out.landmark = Landmark::kBackbone;
  }
  return out;
}

std::string guessed_order(std::string_view path) {
  // Stems in the order in which blocks use them; a component takes the rank of the first stem it
  // contains.
  static constexpr std::array<std::string_view, 34> kStems = {"input_layernorm",
                                                              "ln_1",
                                                              "operator_norm",
                                                              "layer_norm_1",
                                                              "in_proj",
                                                              "conv1d",
                                                              "x_proj",
                                                              "dt_proj",
                                                              "query_key_value",
                                                              "qkv",
                                                              "c_attn",
                                                              "q_",
                                                              "kv_",
                                                              "k_",
                                                              "v_",
                                                              "rotary",
                                                              "attn",
                                                              "attention",
                                                              "mixer",
                                                              "conv",
                                                              "o_proj",
                                                              "out_proj",
                                                              "dense_4h",
                                                              "post_attention",
                                                              "ln_2",
                                                              "pre_feedforward",
                                                              "norm",
                                                              "gate",
                                                              "up_",
                                                              "fc",
                                                              "act",
                                                              "down",
                                                              "mlp",
                                                              "ffn"};
  const Anatomy a = dissect(path);
  int section = 1;
  if (a.layer >= 0) section = 2;
  if (a.landmark == Landmark::kEmbedding) section = 0;
  if (a.landmark == Landmark::kFinalNorm) section = 3;
  if (a.landmark == Landmark::kBackbone) section = 4;
  if (a.landmark == Landmark::kHead) section = 5;
  std::string key = fmt::format("{}:{:06}", section, a.layer + 1);
  for (size_t begin = 0; begin < a.inner.size();) {
    const size_t end = std::min(a.inner.find_first_of("./", begin), a.inner.size());
    const std::string_view part = a.inner.substr(begin, end - begin);
    size_t rank = 0;
    while (rank < kStems.size() && part.find(kStems[rank]) == part.npos) ++rank;
    key += fmt::format(":{:02}{}", rank, part);
    begin = end + 1;
  }
  return key + "~";  // after every child, whose key goes on with ':'
}

}  // namespace lockstep::parity
