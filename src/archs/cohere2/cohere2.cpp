#include "cohere2.h"

LOCKSTEP_ARCHITECTURE(cohere2, "Cohere2ForCausalLM", "model", lockstep::cohere2::Cohere2ForCausalLM)
LOCKSTEP_PORT(cohere2)
