// The header of a registered architecture as text: what a port can inherit from, or copy.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::port {

/// A declaration at the top of a source, without comments: a struct, a function, an alias.
struct Chunk {
  std::string name;  // of what it declares
  std::string base;  // of a struct: what it derives from, "Module<Attention>"; else empty
  std::string text;  // with its last line's end
  bool is_struct = false;
};

/// `source` without comments, empty lines in a row joined.
std::string without_comments(std::string_view source);
/// What stands at the top of `source` within its namespaces, in its order.
std::vector<Chunk> chunks_of(std::string_view source);
/// The member function forward() of a struct, its template line included; empty where it has none.
std::string forward_of(const std::string& struct_text);

struct DonorSource {
  std::string slug, class_name, base_model_prefix;
  std::vector<std::string> includes;  // "<cmath>", without the SDK's own
  std::vector<Chunk> chunks;
  /// Where stack and head are the SDK's: the struct that names the parts, and those it names
  /// ("Attention" -> "llama::Attention"). Empty of a donor that has a model of its own.
  std::string family;
  std::map<std::string, std::string> parts;

  /// Reads lockstep/archs/<slug>.h below `sdk`. Throws kNotFound naming the file.
  static DonorSource read(const std::filesystem::path& sdk, const std::string& slug,
                          const std::string& class_name, const std::string& base_model_prefix);
  const Chunk* find(std::string_view name) const;
  /// The struct of the configuration: "LlamaConfig".
  const std::string& config() const { return config_; }
  /// The declaration of the whole model.
  const Chunk& model() const { return *find(class_name); }

 private:
  std::string config_;
};

/// What the names of a class's modules begin with: "SmolLM3ForCausalLM" -> "SmolLM3",
/// "GPT2LMHeadModel" -> "GPT2".
std::string stem_of(std::string_view class_name);

/// `text` with every word `from`, alone or with an upper-case letter after it, begun by `to`; words
/// of code (not of literals) that are in `kept` stay.
std::string with_stem(std::string_view text, std::string_view from, std::string_view to,
                      const std::set<std::string>& kept);
/// `text` with every whole word `from`, which may end in "::", as `to`.
std::string with_word(std::string_view text, std::string_view from, std::string_view to);

}  // namespace lockstep::port
