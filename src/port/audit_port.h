// An audit from a port's folder alone: builds and traces it against the model it is for.
#pragma once

#include <filesystem>
#include <string>

#include "port/audit.h"

namespace lockstep::port {

/// `model` empty: the one that the gates were last run with, or that PORT.md's card names. Throws
/// kInvalidArgument where there is neither, and as build_port() and trace().
AuditReport audit_port(const std::filesystem::path& port_folder, const std::string& model);

/// The model that a port is for, as its folder says; empty where it does not.
std::string model_of_port(const std::filesystem::path& port_folder);

}  // namespace lockstep::port
