#include "qwen2_moe.h"

LOCKSTEP_ARCHITECTURE(qwen2_moe, "Qwen2MoeForCausalLM", "model",
                      lockstep::qwen2_moe::Qwen2MoeForCausalLM)
LOCKSTEP_PORT(qwen2_moe)
