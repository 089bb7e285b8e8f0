#include "qwen2.h"

LOCKSTEP_ARCHITECTURE(qwen2, "Qwen2ForCausalLM", "model", lockstep::qwen2::Qwen2ForCausalLM)
LOCKSTEP_PORT(qwen2)
