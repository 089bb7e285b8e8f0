#include "port/config_masks.h"

#include <utility>

#include "lockstep/error.h"

namespace lockstep::port {
namespace {

using Why = Substitution::Why;

// What the architecture that is traced just now stands for: the C boundary has no closures.
struct Standing {
  const LockstepArchitecture* donor;
  const std::vector<ConfigMask>* masks;
};
thread_local Standing standing;

int build_masked(const LockstepApi* api, LockstepBuilder* builder) {
  for (const ConfigMask& mask : *standing.masks) {
    const char* json = mask.json ? mask.json->c_str() : nullptr;
    if (const int code = api->config_replace(builder, mask.key.c_str(), json); code != 0) {
      return code;
    }
  }
  return standing.donor->build(api, builder);
}

void attempt(const LockstepArchitecture& donor, const Candidate& candidate, MaskedTrace& result) {
  const LockstepArchitecture masked = {donor.class_name, donor.slug, donor.base_model_prefix,
                                       &build_masked};
  standing = {&donor, &result.masks};
  const ConfigFile config = ConfigFile::parse(candidate.config.dump(), "config.json");
  try {
    result.trace = trace(masked, config, candidate.headers, DType::kFloat32);
    result.failure.clear();
  } catch (const Error& error) {
    result.trace.reset();
    result.failure = error.message();
  }
}

std::string top_of(const std::string& key) { return key.substr(0, key.find('.')); }

ConfigMask mask_of(const Substitution& s, const Candidate& candidate) {
  ConfigMask mask{s.why, s.key, {}, "", 0};
  if (s.why == Why::kRequired || s.why == Why::kDefault) mask.json = s.text;
  if (s.why == Why::kAlias) {
    const nlohmann::ordered_json* value = value_at(candidate.config, s.text);
    mask.other = s.text;
    mask.json = value == nullptr ? "null" : value->dump();
  }
  return mask;
}

}  // namespace

MaskedTrace trace_with_masks(const LockstepArchitecture& donor, const Candidate& candidate) {
  MaskedTrace result;
  for (const Substitution& s : trace_donor(donor, candidate).substitutions) {
    result.masks.push_back(mask_of(s, candidate));
  }
  attempt(donor, candidate, result);
  // Without one value of an object it may still be refused for what is missing: then without all.
  for (ConfigMask& mask : result.masks) {
    if (result.trace) break;
    if (mask.why != Why::kRefused || top_of(mask.key) == mask.key) continue;
    mask.key = top_of(mask.key);
    attempt(donor, candidate, result);
  }
  return result;
}

}  // namespace lockstep::port
