// Registration of an architecture, in the tree and outside it, by the same two lines:
//   LOCKSTEP_ARCHITECTURE(llama, "LlamaForCausalLM", "model", LlamaForCausalLM)
//   LOCKSTEP_PORT(llama)
#pragma once

#include "lockstep/builder.h"
#include "lockstep/config.h"
#include "lockstep/module.h"
#include "lockstep/step.h"

namespace lockstep::internal {

/// Traces Model: constructs it, calls it with a Step, and names its result the logits. Nothing
/// throws across this function.
template <class Model>
int build_model(const LockstepApi* api, LockstepBuilder* raw) noexcept {
  auto fail = [&](ErrorCode code, const char* message, const char* hint) {
    api->fail(raw, static_cast<int>(code), message, hint);
    return static_cast<int>(code);
  };
  try {
    Builder builder(*api, raw);
    const Config config(builder);
    const Model model(Scope(builder, ""), config);
    const Step step(builder);
    builder.output("logits", model(step));
    return 0;
  } catch (const Error& error) {
    return fail(error.code(), error.message().c_str(), error.hint().c_str());
  } catch (const std::exception& error) {
    return fail(ErrorCode::kInternal, error.what(), "");
  } catch (...) {
    return fail(ErrorCode::kInternal, "the port threw something that is no std::exception", "");
  }
}

}  // namespace lockstep::internal

/// `slug` is the folder's name; Model takes (Scope, const Config&) and is called with a Step.
#define LOCKSTEP_ARCHITECTURE(slug, class_name, base_model_prefix, Model) \
  extern "C" const LockstepArchitecture lockstep_architecture_##slug;     \
  const LockstepArchitecture lockstep_architecture_##slug = {             \
      class_name, #slug, base_model_prefix, &lockstep::internal::build_model<Model>};

#ifdef LOCKSTEP_BUILTIN
#define LOCKSTEP_PORT(slug)
#else
/// The entry of a compiled port.
#define LOCKSTEP_PORT(slug)                                                                      \
  extern "C" __attribute__((visibility("default"))) const LockstepPort* lockstep_port(void) {    \
    static const LockstepArchitecture* const architectures[] = {&lockstep_architecture_##slug};  \
    static const LockstepPort port = {LOCKSTEP_ABI_VERSION, LOCKSTEP_SDK_VERSION, architectures, \
                                      1};                                                        \
    return &port;                                                                                \
  }
#endif
