// A class of a port against the class of the architecture it was begun from, line by line.
#pragma once

#include <filesystem>
#include <string>

namespace lockstep::port {

struct DonorDifference {
  std::string markdown;  // empty where no class of that kind was found
  std::string command;   // that shows the files beside each other; may be empty
};

/// `module_class` is the reference's name ("SmolLM3Attention"): the struct of the port, and of the
/// architectures whose headers it includes, whose name ends alike. Never throws for sources it
/// cannot read: it says nothing of them.
DonorDifference donor_difference(const std::filesystem::path& port_folder,
                                 const std::string& module_class);

/// Lines of `a` and `b` as a listing: "  " both, "- " of `a` alone, "+ " of `b` alone; of long runs
/// that are the same the ends.
std::string line_difference(const std::string& a, const std::string& b);

}  // namespace lockstep::port
