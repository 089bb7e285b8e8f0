// Everything a port may include.
#pragma once

#include "lockstep/builder.h"
#include "lockstep/config.h"
#include "lockstep/error.h"
#include "lockstep/module.h"
#include "lockstep/nn/layer_norm.h"
#include "lockstep/nn/conv.h"
#include "lockstep/nn/gated_rms_norm.h"
#include "lockstep/nn/linear.h"
#include "lockstep/nn/mlp.h"
#include "lockstep/nn/rms_norm.h"
#include "lockstep/nn/rope.h"
#include "lockstep/ops.h"
#include "lockstep/port.h"
#include "lockstep/step.h"
