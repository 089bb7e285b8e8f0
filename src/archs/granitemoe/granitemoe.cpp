#include "granitemoe.h"

LOCKSTEP_ARCHITECTURE(granitemoe, "GraniteMoeForCausalLM", "model",
                      lockstep::granitemoe::GraniteMoeForCausalLM)
LOCKSTEP_PORT(granitemoe)
