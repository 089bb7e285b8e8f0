#include "starcoder2.h"

LOCKSTEP_ARCHITECTURE(starcoder2, "Starcoder2ForCausalLM", "model",
                      lockstep::starcoder2::Starcoder2ForCausalLM)
LOCKSTEP_PORT(starcoder2)
