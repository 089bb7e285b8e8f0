#include "exaone4.h"

LOCKSTEP_ARCHITECTURE(exaone4, "Exaone4ForCausalLM", "model", lockstep::exaone4::Exaone4ForCausalLM)
LOCKSTEP_PORT(exaone4)
