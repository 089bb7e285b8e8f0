#include "mamba.h"

LOCKSTEP_ARCHITECTURE(mamba, "MambaForCausalLM", "backbone", lockstep::mamba::MambaForCausalLM)
LOCKSTEP_PORT(mamba)
