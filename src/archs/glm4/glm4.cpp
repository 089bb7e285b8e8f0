#include "glm4.h"

LOCKSTEP_ARCHITECTURE(glm4, "Glm4ForCausalLM", "model", lockstep::glm4::Glm4ForCausalLM)
LOCKSTEP_PORT(glm4)
