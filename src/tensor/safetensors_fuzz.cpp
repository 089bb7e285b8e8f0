// Any bytes as a safetensors file: an Error, or a header that keeps its promises.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "lockstep/error.h"
#include "tensor/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lockstep;
  try {
    const SafetensorsHeader header =
        parse_safetensors_header(std::as_bytes(std::span(data, size)), size, "fuzz");
    uint64_t end = 0;
    for (const TensorEntry& entry : header.tensors) {
      const int64_t elements = checked_product(entry.shape);
      if (entry.begin != end || entry.end < entry.begin || elements < 0) std::abort();
      end = entry.end;
      if (static_cast<uint64_t>(elements) * dtype_size(entry.dtype) != end - entry.begin) {
        std::abort();
      }
    }
    if (header.data_offset + end != size) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
