#include "deepseek_v3.h"

LOCKSTEP_ARCHITECTURE(deepseek_v3, "DeepseekV3ForCausalLM", "model",
                      lockstep::deepseek_v3::DeepseekV3ForCausalLM)
LOCKSTEP_PORT(deepseek_v3)
