#include "cli/source_folders.h"

#include "lockstep/error.h"
#include "port/sdk.h"

namespace lockstep::cli {

std::vector<std::filesystem::path> source_folders(const ModelOptions& options) {
  std::vector<std::filesystem::path> folders(options.custom_architectures.begin(),
                                             options.custom_architectures.end());
  try {
    const std::filesystem::path sdk = port::find_sdk() / "lockstep";
    folders.push_back(sdk / "archs");
    folders.push_back(sdk / "nn");
  } catch (const Error&) {
    return folders;  // without the SDK's headers the port's own are all there is
  }
  return folders;
}

}  // namespace lockstep::cli
