// The same values in the same order under another shape: an alias, nothing runs.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

/// (x [T, ...]) -> [T, tail...] of x's type. Attribute: tail (ints), whose product is the number of
/// elements of a row of x.
extern const OpDef reshape;

}  // namespace lockstep::ops
