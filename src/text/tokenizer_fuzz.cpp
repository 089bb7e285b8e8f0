// Any bytes as a tokenizer.json: an Error, or a tokenizer that encodes and decodes.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "lockstep/error.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lockstep::text;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  try {
    const Tokenizer tokenizer = Tokenizer::parse(json, "fuzz");
    for (const std::string_view text : {"Hello  world 12\n", "é中<s>ab '\xf0\x9f\x91\x8b'", " "}) {
      const std::vector<int32_t> ids = tokenizer.encode(text);
      const std::string decoded = tokenizer.decode(ids);
      if (find_invalid_utf8(decoded) != decoded.npos) std::abort();
      Detokenizer detokenizer(tokenizer);
      std::string streamed;
      for (const int32_t id : ids) streamed += detokenizer.push(id);
      if (streamed + detokenizer.finish() != decoded) std::abort();
    }
  } catch (const lockstep::Error&) {
  }
  return 0;
}
