#include "mistral.h"

LOCKSTEP_ARCHITECTURE(mistral, "MistralForCausalLM", "model", lockstep::mistral::MistralForCausalLM)
LOCKSTEP_PORT(mistral)
