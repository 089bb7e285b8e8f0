#include "gemma.h"

LOCKSTEP_ARCHITECTURE(gemma, "GemmaForCausalLM", "model", lockstep::gemma::GemmaForCausalLM)
LOCKSTEP_PORT(gemma)
