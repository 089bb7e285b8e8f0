// Whatever a server sends: streams and completions are read or refused, never believed.
#include <fmt/format.h>

#include "client/completion.h"
#include "client/stream_times.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lockstep::client;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  StreamTimes stream(StreamTimes::Clock::now());
  const size_t half = size / 2;
  if (stream.feed(text.substr(0, half), StreamTimes::Clock::now())) {
    stream.feed(text.substr(half), StreamTimes::Clock::now());
  }
  HttpReply reply;
  reply.status = 200;
  const RequestTimes times = stream.finish(reply, StreamTimes::Clock::now());
  if (times.output_tokens < 0 || times.prompt_tokens < 0) __builtin_trap();
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return 0;
  const Completion completion = read_completion(json);
  if (completion.problem.empty() &&
      completion.positions.empty() == completion.no_logprobs.empty()) {
    __builtin_trap();
  }
  return 0;
}
