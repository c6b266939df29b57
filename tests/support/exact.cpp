// In every program that compares numbers: products are the exact ones, for any number of rows,
// unless a test or the environment asks for others.
#include <cstdlib>

namespace {

const int exact = setenv("MLXCPP_DETERMINISTIC", "1", /*overwrite=*/0);

}  // namespace
