// Any bytes as an npy file: an Error, or a tensor whose every element can be read.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "lockstep/error.h"
#include "tensor/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lockstep;
  try {
    const Tensor tensor = parse_npy(std::as_bytes(std::span(data, size)), "fuzz");
    if (tensor.view().bytes() > size || !tensor.view().is_contiguous()) std::abort();
    volatile double sum = 0;
    for (int64_t i = 0; i < tensor.view().elements(); ++i) {
      sum = sum + load_element(tensor.view().data, tensor.view().dtype, i);
    }
  } catch (const Error&) {
  }
  return 0;
}
