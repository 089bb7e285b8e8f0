#include "falcon.h"

LOCKSTEP_ARCHITECTURE(falcon, "FalconForCausalLM", "transformer",
                      lockstep::falcon::FalconForCausalLM)
LOCKSTEP_PORT(falcon)
