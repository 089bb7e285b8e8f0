// What a bisection is about: the reference's texts, a dtype's pipeline and its noise.
#pragma once

#include <string>
#include <vector>

#include "parity/bisect/bisect.h"
#include "parity/floor.h"

namespace lockstep::parity {

/// Two tokens are the least that a step after another can be wrong in.
inline constexpr size_t kFewestTokens = 2;

/// Dtypes with greedy text, float32 first.
std::vector<std::string> dtypes_of(const Recording& reference);
/// Texts of `dtype`, each prompt once: prompts of two tokens or more with enough greedy text.
std::vector<ReferenceText> texts_of(const Recording& reference, const std::string& dtype,
                                    const BisectOptions& options);

/// By the reference's own noise; a bar of 0 where it recorded none.
Noise noise_of(Floors& floors, const std::string& dtype);
/// Without a floor of the reference's: how far the subject itself is from float32, on the prompts
/// that both have.
Noise noise_of(const DtypeCase& low, const DtypeCase& precise);

/// Starts the subject in `dtype` and feeds it the texts at once. The noise is left to the caller.
DtypeCase open_case(const Subject& subject, DType dtype, std::vector<ReferenceText> texts);
/// One stage that needs no reference: any but the tokenizer's and the forced one.
StageResult run_unreferenced(Stage stage, DtypeCase& the_case, const Subject& subject);

}  // namespace lockstep::parity
