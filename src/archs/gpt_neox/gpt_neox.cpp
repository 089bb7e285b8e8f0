#include "gpt_neox.h"

LOCKSTEP_ARCHITECTURE(gpt_neox, "GPTNeoXForCausalLM", "gpt_neox",
                      lockstep::gpt_neox::GPTNeoXForCausalLM)
LOCKSTEP_PORT(gpt_neox)
