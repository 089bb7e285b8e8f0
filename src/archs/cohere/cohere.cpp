#include "cohere.h"

LOCKSTEP_ARCHITECTURE(cohere, "CohereForCausalLM", "model", lockstep::cohere::CohereForCausalLM)
LOCKSTEP_PORT(cohere)
