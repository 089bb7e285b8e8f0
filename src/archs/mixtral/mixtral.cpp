#include "mixtral.h"

LOCKSTEP_ARCHITECTURE(mixtral, "MixtralForCausalLM", "model", lockstep::mixtral::MixtralForCausalLM)
LOCKSTEP_PORT(mixtral)
