// The model of a command as what bisect runs in every way there is.
#pragma once

#include <string>

#include "cli/model_options.h"
#include "parity/bisect/bisect.h"

namespace lockstep::cli {

/// `options` outlive what is made of them. Throws as ModelFiles::open.
parity::Subject subject_of(const ModelOptions& options);
/// Lets `subject`, which stays where it is, be served under `name` on a port of its own.
void make_servable(parity::Subject& subject, const std::string& name);

}  // namespace lockstep::cli
