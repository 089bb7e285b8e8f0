#include "gemma2.h"

LOCKSTEP_ARCHITECTURE(gemma2, "Gemma2ForCausalLM", "model", lockstep::gemma2::Gemma2ForCausalLM)
LOCKSTEP_PORT(gemma2)
