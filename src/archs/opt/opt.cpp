#include "opt.h"

LOCKSTEP_ARCHITECTURE(opt, "OPTForCausalLM", "model", lockstep::opt::OPTForCausalLM)
LOCKSTEP_PORT(opt)
