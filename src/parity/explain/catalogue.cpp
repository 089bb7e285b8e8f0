#include "parity/explain/cause.h"
#include "parity/explain/causes/causes.h"

namespace lockstep::parity {

const std::vector<Cause>& catalogue() {
  static const std::vector<Cause> causes = [] {
    std::vector<Cause> all;
    for (const auto& part :
         {attribute_causes, input_causes, weight_causes, form_causes, rotation_causes, norm_causes,
          product_causes, sum_causes, attention_causes, routing_causes, cache_causes,
          partial_product_causes, embedding_causes, rounding_causes, state_causes}) {
      for (Cause& cause : part()) all.push_back(cause);
    }
    return all;
  }();
  return causes;
}

}  // namespace lockstep::parity
