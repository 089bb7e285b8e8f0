#include "mamba2.h"

LOCKSTEP_ARCHITECTURE(mamba2, "Mamba2ForCausalLM", "backbone", lockstep::mamba2::Mamba2ForCausalLM)
LOCKSTEP_PORT(mamba2)
