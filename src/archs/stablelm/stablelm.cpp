#include "stablelm.h"

LOCKSTEP_ARCHITECTURE(stablelm, "StableLmForCausalLM", "model",
                      lockstep::stablelm::StableLmForCausalLM)
LOCKSTEP_PORT(stablelm)
