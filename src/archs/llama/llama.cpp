#include "llama.h"

LOCKSTEP_ARCHITECTURE(llama, "LlamaForCausalLM", "model", lockstep::llama::LlamaForCausalLM)
LOCKSTEP_PORT(llama)
