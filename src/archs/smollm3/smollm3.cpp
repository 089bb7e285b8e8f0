#include "smollm3.h"

LOCKSTEP_ARCHITECTURE(smollm3, "SmolLM3ForCausalLM", "model", lockstep::smollm3::SmolLM3ForCausalLM)
LOCKSTEP_PORT(smollm3)
