#include "qwen3.h"

LOCKSTEP_ARCHITECTURE(qwen3, "Qwen3ForCausalLM", "model", lockstep::qwen3::Qwen3ForCausalLM)
LOCKSTEP_PORT(qwen3)
