#include "phi.h"

LOCKSTEP_ARCHITECTURE(phi, "PhiForCausalLM", "model", lockstep::phi::PhiForCausalLM)
LOCKSTEP_PORT(phi)
