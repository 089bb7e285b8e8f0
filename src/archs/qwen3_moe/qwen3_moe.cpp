#include "qwen3_moe.h"

LOCKSTEP_ARCHITECTURE(qwen3_moe, "Qwen3MoeForCausalLM", "model",
                      lockstep::qwen3_moe::Qwen3MoeForCausalLM)
LOCKSTEP_PORT(qwen3_moe)
