// Every architecture that this library ships, from all rooms.
#pragma once

#include "mlxcpp/lm/factory.h"

namespace mlxcpp {

lm::ModelTypeRegistry builtin_models();

}  // namespace mlxcpp
