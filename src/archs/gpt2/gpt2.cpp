#include "gpt2.h"

LOCKSTEP_ARCHITECTURE(gpt2, "GPT2LMHeadModel", "transformer", lockstep::gpt2::GPT2LMHeadModel)
LOCKSTEP_PORT(gpt2)
