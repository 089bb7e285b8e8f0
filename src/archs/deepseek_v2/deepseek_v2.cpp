#include "deepseek_v2.h"

LOCKSTEP_ARCHITECTURE(deepseek_v2, "DeepseekV2ForCausalLM", "model",
                      lockstep::deepseek_v2::DeepseekV2ForCausalLM)
LOCKSTEP_PORT(deepseek_v2)
