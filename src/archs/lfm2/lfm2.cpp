#include "lfm2.h"

LOCKSTEP_ARCHITECTURE(lfm2, "Lfm2ForCausalLM", "model", lockstep::lfm2::Lfm2ForCausalLM)
LOCKSTEP_PORT(lfm2)
