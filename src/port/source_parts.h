// What skeletons and copies have in common: the opening of a file, TODOs by place, and the files
// that do not depend on which of the two it is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "port/port_sources.h"

namespace lockstep::port {

/// Parts of deltas: "attention", "mlp", ...
using PartNames = std::vector<std::string_view>;

/// The comment a file opens with: what it is, what it is derived from, and which delta is
/// implemented in it (0: none yet).
std::string opening(const PortPlan& plan, const std::string& what, int implemented = 0);
/// The TODOs of the deltas of these parts, each with an empty line behind it.
std::string todos(const PortPlan& plan, const PartNames& parts, const std::string& indent);
bool has_delta(const PortPlan& plan, const PartNames& parts);
/// `text`, of the donor, under the port's names.
std::string renamed(const PortPlan& plan, std::string text);

/// readable(): what config.json reads as until the deltas of its keys are implemented.
std::string readable_function(const PortPlan& plan);
std::string weight_adapters(const PortPlan& plan);
std::string arch_source(const PortPlan& plan);

}  // namespace lockstep::port
