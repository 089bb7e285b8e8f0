#include "port/shape_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>

#include "base/text.h"
#include "port/topics.h"
#include "tensor/shape.h"

namespace lockstep::port {
namespace {

using Kind = ConfigFile::Kind;

std::string shape_of(const TensorEntry& entry) { return to_string(Shape(entry.shape)); }

// Not of a text model: its sizes are others.
bool is_of_other_sense(std::string_view name) {
  constexpr std::array kParts = {"vision", "visual", "audio", "image", "projector", "mtp."};
  return std::ranges::any_of(kParts,
                             [&](const char* part) { return name.find(part) != name.npos; });
}

class ShapeCheck {
 public:
  ShapeCheck(const ModelFacts& facts, const ConfigKeys& keys) : keys_(keys) {
    for (const TensorEntry& entry : facts.tensors.tensors) {
      if (!is_of_other_sense(entry.name)) tensors_.push_back(&entry);
    }
  }

  std::vector<ShapeFinding> run() {
    if (tensors_.empty()) return {};
    check_layers();
    check_embedding();
    check_heads();
    check_mlp();
    check_biases();
    check_tie();
    check_dtypes();
    check_experts();
    return std::move(findings_);
  }

 private:
  int64_t number(std::string_view key) const { return static_cast<int64_t>(keys_.number(key, 0)); }
  int64_t first_number(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      if (const int64_t value = number(name); value > 0) return value;
    }
    return 0;
  }
  // The first tensor whose name ends so, of at least two dimensions where it is a weight.
  const TensorEntry* ending(std::string_view end) const {
    const auto found = std::ranges::find_if(tensors_, [&](const TensorEntry* entry) {
      return entry->name.ends_with(end) && !entry->shape.empty();
    });
    return found == tensors_.end() ? nullptr : *found;
  }
  void add(std::string what, std::string tensor, std::string expected, std::string found) {
    findings_.push_back(
        {std::move(what), std::move(tensor), std::move(expected), std::move(found)});
  }

  void check_layers() {
    const int64_t n = first_number({"num_hidden_layers", "n_layer", "n_layers", "num_layers"});
    std::set<int64_t> layers;
    std::string last;
    for (const TensorEntry* entry : tensors_) {
      if (entry->name.find(".experts.") != std::string::npos &&
          entry->name.find("layers.") == std::string::npos) {
        continue;
      }
      const int layer = layer_of(entry->name);
      if (layer >= 0 && layers.insert(layer).second && layer >= n) last = entry->name;
    }
    if (n <= 0 || layers.empty()) return;
    std::vector<int64_t> missing, surplus;
    for (int64_t i = 0; i < std::min<int64_t>(n, 100000); ++i) {
      if (!layers.contains(i)) missing.push_back(i);
    }
    for (const int64_t layer : layers) {
      if (layer >= n) surplus.push_back(layer);
    }
    const std::string expected = fmt::format("layers 0 to {}", n - 1);
    if (!missing.empty()) {
      add("layers are missing", "layers.*", expected,
          fmt::format("none of layer {}{}", missing.front(),
                      missing.size() > 1 ? fmt::format(" and {} more", missing.size() - 1) : ""));
    }
    if (!surplus.empty()) {
      add("more layers than config.json says: heads that predict further tokens, or another model",
          last, expected, fmt::format("{} beyond", counted(surplus.size(), "layer")));
    }
  }

  void check_embedding() {
    const TensorEntry* embedding = nullptr;
    for (const char* end : {"embed_tokens.weight", "wte.weight", "word_embeddings.weight",
                            "embed_in.weight", "embeddings.weight"}) {
      if (embedding == nullptr) embedding = ending(end);
    }
    if (embedding == nullptr || embedding->shape.size() != 2) return;
    const int64_t vocabulary = number("vocab_size");
    const int64_t width = first_number({"hidden_size", "n_embd", "d_model"});
    if (vocabulary > 0 && embedding->shape[0] != vocabulary) {
      add(embedding->shape[0] > vocabulary ? "the embedding has rows beyond the vocabulary"
                                           : "the embedding has fewer rows than the vocabulary",
          embedding->name, fmt::format("{} rows (vocab_size)", vocabulary), shape_of(*embedding));
    }
    if (width > 0 && embedding->shape[1] != width) {
      add("the embedding has another width than the layers", embedding->name,
          fmt::format("{} columns (hidden_size)", width), shape_of(*embedding));
    }
  }

  void check_heads() {
    const int64_t heads = first_number({"num_attention_heads", "n_head", "n_heads"});
    const int64_t width = first_number({"hidden_size", "n_embd", "d_model"});
    const TensorEntry* q = ending("self_attn.q_proj.weight");
    if (q == nullptr) q = ending("attention.q_proj.weight");
    if (q == nullptr || heads <= 0 || width <= 0 || q->shape.size() != 2) return;
    const int64_t told = number("head_dim");
    const int64_t stored = q->shape[0] / heads;
    const int64_t usual = width / heads;
    if (told > 0 && q->shape[0] % (heads * told) != 0) {
      add("head_dim does not fit the projection", q->name,
          fmt::format("{} rows ({} heads of {})", heads * told, heads, told), shape_of(*q));
    } else if (told > 0 && q->shape[0] == 2 * heads * told) {
      add("q_proj is twice as wide as its heads: a gate, or two queries, may be in it", q->name,
          fmt::format("{} rows ({} heads of {})", heads * told, heads, told), shape_of(*q));
    } else if (told == 0 && stored != usual) {
      add("head_dim is not hidden_size / num_attention_heads, and config.json does not say so",
          q->name, fmt::format("{} rows ({} heads of {})", heads * usual, heads, usual),
          shape_of(*q));
    } else if (told > 0 && told != usual) {
      add("head_dim is not hidden_size / num_attention_heads", q->name,
          fmt::format("head_dim {}, by hidden_size {}", told, usual), shape_of(*q));
    }
    check_kv_heads(heads, told > 0 ? told : stored);
  }

  void check_kv_heads(int64_t heads, int64_t head_dim) {
    const TensorEntry* k = ending("self_attn.k_proj.weight");
    if (k == nullptr) k = ending("attention.k_proj.weight");
    const int64_t kv_heads =
        number("num_key_value_heads") > 0 ? number("num_key_value_heads") : heads;
    if (k == nullptr || k->shape[0] == kv_heads * head_dim) return;
    add("the key heads are others than config.json says", k->name,
        fmt::format("{} rows ({} heads of {})", kv_heads * head_dim, kv_heads, head_dim),
        shape_of(*k));
  }

  void check_mlp() {
    const int64_t inner = number("intermediate_size");
    const TensorEntry* gate = ending("mlp.gate_proj.weight");
    if (gate == nullptr || inner <= 0 || gate->shape[0] == inner) return;
    add("the MLP has another width than config.json says", gate->name,
        fmt::format("{} rows (intermediate_size)", inner), shape_of(*gate));
  }

  // Biases that a key denies, or promises.
  void check_biases() {
    struct Rule {
      std::vector<const char*> keys, ends;
    };
    static const std::vector<Rule> rules = {
        {{"attention_bias", "qkv_bias", "use_qkv_bias"},
         {"q_proj.bias", "k_proj.bias", "v_proj.bias", "qkv_proj.bias"}},
        {{"mlp_bias"}, {"mlp.gate_proj.bias", "mlp.up_proj.bias", "mlp.down_proj.bias"}},
        {{"use_bias", "bias"}, {"_proj.bias", ".dense.bias", ".query_key_value.bias"}},
        {{"lm_head_bias"}, {"lm_head.bias"}},
    };
    for (const Rule& rule : rules) {
      const ConfigKey* key = nullptr;
      for (const char* name : rule.keys) {
        if (key == nullptr) key = keys_.find(name);
      }
      const TensorEntry* bias = nullptr;
      for (const char* end : rule.ends) {
        if (bias == nullptr) bias = ending(end);
      }
      if (key == nullptr || key->node->kind != Kind::kBool) continue;
      if (!key->node->boolean && bias != nullptr) {
        add("biases are stored that config.json denies", pattern_of(bias->name),
            key->path + " = false: none", shape_of(*bias));
      } else if (key->node->boolean && bias == nullptr) {
        add("biases are promised that are not stored", fmt::format("*.{}", rule.ends[0]),
            key->path + " = true", "none");
      }
    }
  }

  void check_tie() {
    const ConfigKey* key = keys_.at("tie_word_embeddings");
    if (key == nullptr) key = keys_.find("tie_word_embeddings");
    if (key == nullptr || key->node->kind != Kind::kBool) return;
    const TensorEntry* head = ending("lm_head.weight");
    if (key->node->boolean && head != nullptr) {
      add("the head is tied and stored: which of the two counts depends on whether they are equal",
          head->name, key->path + " = true: none", shape_of(*head));
    } else if (!key->node->boolean && head == nullptr && ending("embed_tokens.weight") != nullptr) {
      add("the head is not tied and not stored", "lm_head.weight", key->path + " = false", "none");
    }
  }

  // Tensors of another type than nearly all of the bytes have.
  void check_dtypes() {
    std::map<DType, uint64_t> bytes;
    uint64_t all = 0;
    for (const TensorEntry* entry : tensors_) {
      bytes[entry->dtype] += entry->end - entry->begin;
      all += entry->end - entry->begin;
    }
    const auto most =
        std::ranges::max_element(bytes, {}, [](const auto& item) { return item.second; });
    std::map<std::pair<std::string, DType>, size_t> strays;
    for (const TensorEntry* entry : tensors_) {
      if (entry->dtype != most->first && 20 * bytes[entry->dtype] < all) {
        ++strays[{pattern_of(entry->name), entry->dtype}];
      }
    }
    constexpr size_t kShown = 8;
    size_t n = 0;
    for (const auto& [stray, count] : strays) {
      if (++n > kShown) break;
      add(fmt::format("{} of another type than the rest",
                      count == 1 ? "a tensor" : counted(count, "tensor")),
          stray.first, std::string(dtype_name(most->first)), std::string(dtype_name(stray.second)));
    }
  }

  void check_experts() {
    const int64_t told =
        first_number({"num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts"});
    int64_t most = -1;
    std::string name;
    for (const TensorEntry* entry : tensors_) {
      const size_t at = entry->name.find(".experts.");
      if (at == std::string::npos) continue;
      const int expert = layer_of(std::string_view(entry->name).substr(at + 9));
      if (expert > most) {
        most = expert;
        name = entry->name;
      }
    }
    if (most < 0 || told <= 0 || most + 1 == told) return;
    add("the experts are others than config.json says", name, fmt::format("{} experts", told),
        fmt::format("{}", most + 1));
  }

  const ConfigKeys& keys_;
  std::vector<const TensorEntry*> tensors_;
  std::vector<ShapeFinding> findings_;
};

}  // namespace

std::vector<ShapeFinding> check_shapes(const ModelFacts& facts, const ConfigKeys& keys) {
  return ShapeCheck(facts, keys).run();
}

}  // namespace lockstep::port
