#include "mlxcpp/builtin/models.h"

namespace mlxcpp {

lm::ModelTypeRegistry builtin_models() {
  lm::ModelTypeRegistry registry;
  lm::add_models(registry);
  return registry;
}

}  // namespace mlxcpp
