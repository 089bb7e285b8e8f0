#include "gemma3_text.h"

LOCKSTEP_ARCHITECTURE(gemma3_text, "Gemma3ForCausalLM", "model",
                      lockstep::gemma3_text::Gemma3ForCausalLM)
LOCKSTEP_PORT(gemma3_text)
