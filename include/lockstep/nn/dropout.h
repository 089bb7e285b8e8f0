// torch.nn.Dropout in inference.
#pragma once

#include "lockstep/module.h"

namespace lockstep {

/// Passes on what it is given. The reference calls it, so it is a tap.
struct Dropout : Module<Dropout> {
  static constexpr const char* kClass = "Dropout";
  explicit Dropout(const Scope& s) : Module(s) {}
  Value forward(const Value& x) const { return x; }
};

}  // namespace lockstep
