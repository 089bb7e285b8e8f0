// PORT.md of a port's folder: sections between markers are ours, everything else is a person's.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace lockstep::port {

/// Replaces what stands between `<!-- lockstep:SECTION -->` and `<!-- /lockstep:SECTION -->` by
/// `text`, or appends the section (with its heading) in the record's order; makes the file where
/// there is none, with a prompt for each section that a person writes. Every byte outside the
/// markers stays. A marker is a line of its own; one inside `text` is made harmless. Atomic. Throws
/// kFailedPrecondition naming file and line when a marker is opened twice or not closed.
///
/// The record's order: card, config, plan, deltas, gates, runs, (Root cause, Lessons: a person's),
/// attestation. Any other name made of a-z, 0-9, - and _ comes last; else throws kInvalidArgument.
void update_record(const std::filesystem::path& port_folder, std::string_view section,
                   std::string_view text);
/// What the section holds now, without its last line end; empty where there is none.
std::string read_record(const std::filesystem::path& port_folder, std::string_view section);

}  // namespace lockstep::port
