#include "olmo2.h"

LOCKSTEP_ARCHITECTURE(olmo2, "Olmo2ForCausalLM", "model", lockstep::olmo2::Olmo2ForCausalLM)
LOCKSTEP_PORT(olmo2)
