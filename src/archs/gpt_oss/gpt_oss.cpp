#include "gpt_oss.h"

LOCKSTEP_ARCHITECTURE(gpt_oss, "GptOssForCausalLM", "model", lockstep::gpt_oss::GptOssForCausalLM)
LOCKSTEP_PORT(gpt_oss)
