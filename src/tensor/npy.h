// numpy's .npy format, versions 1 to 3, little-endian, C order (Fortran order is transposed).
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "tensor/tensor.h"

namespace lockstep {

/// Checks magic, version, header, dtype, order, shape and size. Throws kInvalidArgument naming
/// `file`, expected and found. bfloat16 is not a numpy type: `<V2` is refused with that reason.
Tensor parse_npy(std::span<const std::byte> bytes, const std::string& file);
Tensor read_npy(const std::filesystem::path& path);
/// Version 1.0. bfloat16 is widened to float32. The file appears whole or not at all.
void write_npy(const std::filesystem::path& path, const View& view);

}  // namespace lockstep
