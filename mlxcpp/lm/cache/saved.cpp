#include "mlxcpp/lm/cache/saved.h"

#include "mlxcpp/base/error.h"

#include <algorithm>
#include <string>

namespace mlxcpp::lm {

void SavedKv::refuse(std::string_view why) const {
  throw InputError(describe("cache state of class " + std::string(class_name), why));
}

SavedKv SavedKv::read(const CacheState& s,
                      std::string_view class_name,
                      size_t count,
                      const ops::KvLayout& layout) {
  SavedKv saved{class_name, {}, s.numbers};
  if (s.class_name != class_name)
    throw InputError(describe("cache state", "wrong class", class_name, s.class_name));
  if (s.arrays.size() != 2 || s.numbers.size() != count) saved.refuse("wrong number of parts");
  if (std::any_of(s.numbers.begin(), s.numbers.end(), [](int n) { return n < 0; }))
    saved.refuse("a negative number");
  if (s.arrays[0].has_value() != s.arrays[1].has_value()) saved.refuse("keys without values");
  if (!s.arrays[0]) {
    if (s.numbers[0] != 0) saved.refuse("an offset without keys");
    return saved;
  }
  const array &k = *s.arrays[0], &v = *s.arrays[1];
  auto fits = [&](const array& x, int dim) {
    return x.ndim() == 4 && x.shape(0) == 1 && x.shape(1) == layout.heads && x.shape(3) == dim;
  };
  if (!fits(k, layout.k_dim) || !fits(v, layout.v_dim) || k.shape(2) != v.shape(2))
    saved.refuse("keys or values are not (1, heads, S, head size) of this model");
  saved.kv = KvPair{k, v};
  return saved;
}

}  // namespace mlxcpp::lm
