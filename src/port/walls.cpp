#include "port/walls.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/glob.h"
#include "graph/trace.h"
#include "lockstep/error.h"
#include "port/wall_check.h"

namespace lockstep::port {
namespace {

// In the order of the table in docs/porting.md.
constexpr WallCheck kChecks[] = {
    check_positions,
    check_recurrence,
    check_quantised_weights,
    check_quantisation_scheme,
    check_weights_format,
    check_custom_code,
    check_kernel_imports,
    check_tokenizer,
    check_encoder_decoder,
    check_multimodal,
    check_diffusion,
    check_shared_router,
    check_indexer,
    check_architectures,
    check_size,
};

}  // namespace

WallContext::WallContext(const ModelFacts& f, const Registry& r)
    : facts(f), registry(r), keys(f.config.text(), f.config.file()) {
  architecture = r.find(f.class_name);
  if (architecture == nullptr) return;
  // Of its own, so that what is read here does not count as read elsewhere.
  const ConfigFile config = ConfigFile::parse(f.config.text(), f.config.file());
  ConfigReads reads;
  try {
    const Trace traced = trace(*architecture, config, f.headers(), DType::kFloat32, &reads);
    is_traced = true;
    is_complete = traced.audit.holds();
    for (const ConfigReads::Read& one : reads.reads) read.insert(one.path);
    const std::string text = keys.text_root() + ".";
    const auto is_inside = [&](const std::string& path) { return path.starts_with(text); };
    is_backbone = traced.graph.find_call("model.language_model").has_value() ||
                  (text.size() > 1 && std::ranges::any_of(read, is_inside));
  } catch (const Error& error) {
    refusal = error.message();
  }
}

const ConfigKey* WallContext::first(const std::function<bool(const ConfigKey&)>& wanted) const {
  return keys.first([&](const ConfigKey& key) {
    if (is_traced && (key.name == "model_type" || read.contains(key.path))) return false;
    return wanted(key);
  });
}

std::string WallContext::tensor(std::initializer_list<std::string_view> patterns) const {
  for (const TensorEntry& entry : facts.tensors.tensors) {
    for (const std::string_view pattern : patterns) {
      if (glob_match(pattern, entry.name)) return entry.name;
    }
  }
  return "";
}

bool WallContext::has_file(std::string_view name) const {
  return std::ranges::find(facts.files, name) != facts.files.end();
}

std::vector<std::string> WallContext::files_ending(
    std::initializer_list<std::string_view> ends) const {
  std::vector<std::string> found;
  for (const std::string& file : facts.files) {
    const auto matches = [&](std::string_view end) { return file.ends_with(end); };
    if (std::ranges::any_of(ends, matches)) found.push_back(file);
  }
  return found;
}

std::string listed(const std::vector<std::string>& names, size_t n_shown) {
  const size_t n = std::min(names.size(), n_shown);
  std::string out = fmt::format("{}", fmt::join(names.begin(), names.begin() + n, ", "));
  if (names.size() > n) out += fmt::format(" and {} more", names.size() - n);
  return out;
}

std::vector<Wall> find_walls(const ModelFacts& facts, const Registry& registry) {
  const WallContext context(facts, registry);
  Walls walls;
  for (const WallCheck check : kChecks) check(context, walls);
  return walls;
}

}  // namespace lockstep::port
