#include "qwen3_next.h"

LOCKSTEP_ARCHITECTURE(qwen3_next, "Qwen3NextForCausalLM", "model",
                      lockstep::qwen3_next::Qwen3NextForCausalLM)
LOCKSTEP_PORT(qwen3_next)
