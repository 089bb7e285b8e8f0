#include "parity/explain/cause.h"
#include "parity/explain/causes/causes.h"

namespace lockstep::parity {

const std::vector<Cause>& catalogue() {
  static const std::vector<Cause> causes = [] {
    std::vector<Cause> all;
    for (const auto& part : {attribute_causes}) {
      for (Cause& cause : part()) all.push_back(cause);
    }
    return all;
  }();
  return causes;
}

}  // namespace lockstep::parity
