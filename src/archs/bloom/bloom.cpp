#include "bloom.h"

LOCKSTEP_ARCHITECTURE(bloom, "BloomForCausalLM", "transformer", lockstep::bloom::BloomForCausalLM)
LOCKSTEP_PORT(bloom)
