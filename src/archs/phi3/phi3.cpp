#include "phi3.h"

LOCKSTEP_ARCHITECTURE(phi3, "Phi3ForCausalLM", "model", lockstep::phi3::Phi3ForCausalLM)
LOCKSTEP_PORT(phi3)
