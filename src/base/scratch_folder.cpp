#include "base/scratch_folder.h"

#include <cstdlib>
#include <string>
#include <system_error>

#include "lockstep/error.h"

namespace lockstep {

ScratchFolder::ScratchFolder(std::string_view name) {
  std::string pattern =
      (std::filesystem::temp_directory_path() / (std::string(name) + "-XXXXXX")).string();
  if (mkdtemp(pattern.data()) == nullptr) {
    throw Error(ErrorCode::kUnavailable, pattern + ": cannot be created", "check TMPDIR");
  }
  path_ = pattern;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace lockstep
