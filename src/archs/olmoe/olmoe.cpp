#include "olmoe.h"

LOCKSTEP_ARCHITECTURE(olmoe, "OlmoeForCausalLM", "model", lockstep::olmoe::OlmoeForCausalLM)
LOCKSTEP_PORT(olmoe)
