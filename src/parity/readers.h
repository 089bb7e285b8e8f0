// The readers behind read_recording(), one a layout.
#pragma once

#include <filesystem>
#include <string_view>

#include "parity/recording.h"

namespace lockstep::parity {

Recording read_dump(const std::filesystem::path& folder);
Recording read_golden(const std::filesystem::path& folder);
Recording read_npy_folder(const std::filesystem::path& folder);
Recording read_npz(const std::filesystem::path& file);
Recording read_plain_safetensors(const std::filesystem::path& file);

/// Drops a leading dimension of 1 when `view` has more than `keep` dimensions.
View without_batch(View view, int keep);
/// Swaps the first two of three dimensions where the second counts the run's tokens and no other
/// one does: transformers keeps q and k as [heads, tokens, head_dim].
View token_major(View view, int64_t n_tokens);

}  // namespace lockstep::parity
