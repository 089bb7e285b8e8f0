// From a checked request to requests of the engine, and their events back.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>
#include <vector>

#include "runtime/engine.h"
#include "serve/choice_output.h"
#include "serve/mailbox.h"
#include "serve/requests.h"
#include "serve/served_model.h"

namespace lockstep::serve {

/// A prompt as the engine takes it.
struct EncodedPrompt {
  std::vector<int32_t> ids;
  std::optional<std::string> text;  // where it was given as text
};

/// Encodes `prompt`; `param` names it in errors.
Result<EncodedPrompt> encode_prompt(const ServedModel& model, Prompt prompt,
                                    bool add_special_tokens, const std::string& param);
/// Cuts to the last `length` tokens; -1 and more than `most`: to what `most` leaves.
void truncate_prompt(EncodedPrompt& prompt, std::optional<int64_t> length, int64_t most);

/// The engine's parameters of one prompt: the request's, else the model's defaults. Fails where
/// prompt and answer together are longer than the engine takes.
Result<SamplingParams> to_sampling_params(const ServedModel& model, const Engine& engine,
                                          const GenerationRequest& request, int64_t n_prompt,
                                          const std::string& prompt_param);

/// The engine's requests of one HTTP request. Those that still run are cancelled at the end.
class EngineCalls {
 public:
  EngineCalls(Engine& engine, std::shared_ptr<Mailbox> mailbox)
      : engine_(engine), mailbox_(std::move(mailbox)) {}
  ~EngineCalls();
  EngineCalls(const EngineCalls&) = delete;
  EngineCalls& operator=(const EngineCalls&) = delete;

  /// Fails with what the engine refuses; events go to the mailbox as choice size().
  std::optional<ApiError> submit(Request request, const std::string& prompt_param);
  void cancel(size_t choice);
  /// The last event of `choice` came.
  void done(size_t choice) { ids_[choice] = 0; }
  size_t size() const { return ids_.size(); }

 private:
  Engine& engine_;
  std::shared_ptr<Mailbox> mailbox_;
  std::vector<uint64_t> ids_;  // 0: over
};

}  // namespace lockstep::serve
