// Names of model families in running text: slugs, display names, class names.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/registry.h"

namespace lockstep::port {

/// "Qwen3-MoE", "qwen3_moe" -> "qwen3moe"
std::string normalised_name(std::string_view name);
/// "Qwen3MoeForCausalLM" -> "Qwen3Moe"; a name without such an ending as it is.
std::string family_of_class(std::string_view class_name);

struct FamilyMention {
  size_t begin = 0, end = 0;  // in the text
  std::string family;         // normalised: "llama", "qwen3moe"; a version kept: "llama3"
  bool is_class = false;      // "LlamaAttention": the words are an identifier
};

/// Which names there are.
class FamilyNames {
 public:
  /// Every registered slug and class, their families without versions, `more` (the port's own and
  /// its donor's), and well-known families that are not registered.
  FamilyNames(const Registry& registry, const std::vector<std::string>& more);

  /// In order of place. Not within a path or a longer word; words that are common English as well
  /// (falcon, bloom, opt, phi) only with a capital letter.
  std::vector<FamilyMention> find(std::string_view text) const;

  /// Whether `family` is a registered slug or class, versions told apart.
  bool is_registered(const std::string& family) const;

 private:
  std::vector<std::string> families_;    // normalised, longest first
  std::vector<std::string> registered_;  // normalised
};

/// Whether two normalised names are of one family, where one may lack the version: "qwen3moe" and
/// "qwen", but not "qwen2" and "qwen3".
bool is_same_family(const std::string& a, const std::string& b);

}  // namespace lockstep::port
