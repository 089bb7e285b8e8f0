#include "granite.h"

LOCKSTEP_ARCHITECTURE(granite, "GraniteForCausalLM", "model", lockstep::granite::GraniteForCausalLM)
LOCKSTEP_PORT(granite)
