// config.json: getters by dotted path, and the list of what nobody read.
#include "hub/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/file.h"
#include "base/text.h"
#include "hub/json_tree.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

// Keys that transformers writes and that never reach the computation of logits.
constexpr std::string_view kIgnored[] = {
    // Provenance, and classes for Python.
    "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "_sliding_window_pattern",
    "architectures", "auto_map", "model_type", "name_or_path", "tokenizer_class", "torchscript",
    "transformers_version", "custom_pipelines",
    // Tokens: these come from the tokenizer and generation_config.json.
    "bos_token_id", "decoder_start_token_id", "eos_token_id", "forced_bos_token_id",
    "forced_eos_token_id", "pad_token_id", "prefix", "sep_token_id", "unk_token_id",
    // Training.
    "attention_dropout", "attn_pdrop", "attention_probs_dropout_prob", "classifier_dropout",
    "dropout", "embd_pdrop", "embedding_dropout", "ffn_dropout", "gradient_checkpointing",
    "hidden_dropout", "hidden_dropout_prob", "initializer_factor", "initializer_range", "init_std",
    "layerdrop", "output_router_logits", "pretraining_tp", "rescale_prenorm_residual",
    "residual_dropout", "resid_pdrop", "router_aux_loss_coef", "router_jitter_noise",
    "aux_loss_alpha", "seq_aux", "use_cache",
    // Heads and outputs of other tasks.
    "cross_attention_hidden_size", "finetuning_task", "id2label", "is_decoder",
    "is_encoder_decoder", "label2id", "num_labels", "output_attentions", "output_hidden_states",
    "problem_type", "return_dict", "summary_activation", "summary_first_dropout",
    "summary_proj_to_labels", "summary_type", "summary_use_proj", "task_specific_params",
    "add_cross_attention", "chunk_size_feed_forward", "tie_encoder_decoder"};

constexpr std::string_view kTextConfig = "text_config";

// A tree takes about a hundred times the room of its text; no real config is near this.
constexpr size_t kMaxBytes = 4u << 20;

std::string display(const JsonNode& node) {
  switch (node.kind) {
    case ConfigFile::Kind::kBool:
      return node.boolean ? "true" : "false";
    case ConfigFile::Kind::kInt:
      return fmt::format("{}", node.integer);
    case ConfigFile::Kind::kFloat:
      return fmt::format("{}", node.number);
    case ConfigFile::Kind::kString:
      return "the string " + quote_text(node.text);
    default:
      return std::string(kind_name(node.kind));
  }
}

bool is_ignored(std::string_view key) {
  return std::ranges::find(kIgnored, key) != std::end(kIgnored);
}

void collect_unread(const JsonNode& node, const std::string& path,
                    std::vector<std::string>& unread) {
  if (!node.any_read()) {
    unread.push_back(path);
    return;
  }
  for (size_t i = 0; i < node.elements.size(); ++i) {
    collect_unread(*node.elements[i], fmt::format("{}.{}", path, i), unread);
  }
  for (const JsonMember& entry : node.members) {
    // transformers writes the keys of every model into this one as well.
    if (path == kTextConfig && is_ignored(entry.first)) continue;
    collect_unread(*entry.second, fmt::format("{}.{}", path, entry.first), unread);
  }
}

}  // namespace

struct ConfigFile::Impl {
  std::string file;
  std::string text;
  JsonNodePtr root;
  mutable std::set<std::string, std::less<>> missed;

  // Marks what `path` names as read; nullptr when there is no such thing.
  JsonNode* find(std::string_view path) const {
    JsonNode* node = root.get();
    for (size_t begin = 0; node != nullptr && begin <= path.size();) {
      const size_t end = std::min(path.find('.', begin), path.size());
      node = node->child(path.substr(begin, end - begin));
      begin = end + 1;
    }
    if (node != nullptr) {
      node->mark_read();
    } else {
      missed.emplace(path);
    }
    return node;
  }

  [[noreturn]] void fail(std::string_view path, std::string_view expected,
                         const std::string& found) const {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: {}: expected {}, found {}", file, path, expected, found));
  }

  const JsonNode& get(std::string_view path, Kind kind, std::string_view expected) const {
    const JsonNode* node = find(path);
    if (node == nullptr) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("{}: {}: expected {}, found no such key", file, path, expected),
                  "check that this is the config.json of the model");
    }
    const bool widened = kind == Kind::kFloat && node->kind == Kind::kInt;
    if (node->kind != kind && !widened) fail(path, expected, display(*node));
    return *node;
  }
};

ConfigFile::ConfigFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ConfigFile::ConfigFile(ConfigFile&&) noexcept = default;
ConfigFile& ConfigFile::operator=(ConfigFile&&) noexcept = default;
ConfigFile::~ConfigFile() = default;

ConfigFile ConfigFile::parse(std::string_view json, std::string file) {
  if (json.size() > kMaxBytes) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected at most {} bytes, found {}", file, kMaxBytes, json.size()),
        "check that this is the config.json of the model");
  }
  auto impl = std::make_unique<Impl>();
  impl->file = std::move(file);
  impl->text = json;
  impl->root = parse_json_tree(json, impl->file);
  resolve_generations(*impl->root, impl->file);
  if (const JsonNodePtr text = impl->root->member(kTextConfig);
      text != nullptr && text->kind == Kind::kObject) {
    resolve_generations(*text, impl->file);
  }
  return ConfigFile(std::move(impl));
}

ConfigFile ConfigFile::load(const std::filesystem::path& path) {
  return parse(read_text_file(path), path.string());
}

ConfigFile::Kind ConfigFile::kind(std::string_view path) const {
  const JsonNode* node = impl_->find(path);
  return node == nullptr ? Kind::kAbsent : node->kind;
}

int64_t ConfigFile::get_int(std::string_view path) const {
  return impl_->get(path, Kind::kInt, "a whole number within 64 bits").integer;
}

double ConfigFile::get_number(std::string_view path) const {
  return impl_->get(path, Kind::kFloat, "a number").number;
}

bool ConfigFile::get_bool(std::string_view path) const {
  return impl_->get(path, Kind::kBool, "true or false").boolean;
}

const std::string& ConfigFile::get_string(std::string_view path) const {
  return impl_->get(path, Kind::kString, "a string").text;
}

size_t ConfigFile::length(std::string_view path) const {
  return impl_->get(path, Kind::kArray, "an array").elements.size();
}

std::vector<std::string> ConfigFile::unread() const {
  std::vector<std::string> unread;
  for (const JsonMember& entry : impl_->root->members) {
    if (is_ignored(entry.first)) continue;
    collect_unread(*entry.second, entry.first, unread);
  }
  return unread;
}

std::vector<std::string> ConfigFile::missed() const {
  return {impl_->missed.begin(), impl_->missed.end()};
}

const std::string& ConfigFile::file() const noexcept { return impl_->file; }
const std::string& ConfigFile::text() const noexcept { return impl_->text; }

}  // namespace lockstep
