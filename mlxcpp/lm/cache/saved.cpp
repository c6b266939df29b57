#include "mlxcpp/lm/cache/saved.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>

#include <algorithm>
#include <string>
#include <utility>

namespace mlxcpp::lm {
namespace {

bool fits(const array& x, const ops::KvLayout& layout, int size) {
  return x.ndim() == 4 && x.shape(0) == 1 && x.shape(1) == layout.heads && x.shape(3) == size;
}

/// Checked so far as all classes are alike.
SavedKv begin(const CacheState& s, std::string_view class_name) {
  if (s.class_name != class_name)
    throw InputError(describe("cache state", "wrong class", class_name, s.class_name));
  SavedKv saved{class_name, {}, s.numbers, {}};
  if (std::any_of(s.numbers.begin(), s.numbers.end(), [](int n) { return n < 0; }))
    saved.refuse("a negative number");
  return saved;
}

void require_offset_zero(const SavedKv& saved) {
  if (saved.numbers[0] != 0) saved.refuse("an offset without keys");
}

array settled(const array& x) {
  return mx::contiguous(mx::astype(x, ops::activation_dtype(x.dtype())));
}

/// Takes the arrays of keys, or of values, off the front.
ops::KvNumbers take_numbers(const SavedKv& saved,
                            const ops::KvLayout& layout,
                            std::vector<std::optional<array>>& arrays,
                            int size,
                            int bits) {
  const KvQuant& q = saved.quant;
  size_t n = bits ? 3 : 1;
  if (arrays.size() < n) saved.refuse("arrays are missing");
  for (size_t i = 0; i < n; ++i)
    if (!arrays[i]) saved.refuse("arrays are missing");
  ops::KvNumbers x(*arrays[0]);
  if (bits) {
    if (size % q.group_size) saved.refuse("its group_size does not divide the head size");
    x.scales = *arrays[1], x.zeros = *arrays[2], x.bits = bits, x.group_size = q.group_size;
    int groups = size / q.group_size;
    bool floats = mx::issubdtype(x.scales->dtype(), mx::floating);
    if (x.values.dtype() != mx::uint32 || !floats || x.zeros->dtype() != x.scales->dtype())
      saved.refuse("packed arrays are of another dtype");
    bool alike = fits(x.values, layout, size * bits / 32) && fits(*x.scales, layout, groups) &&
                 x.scales->shape() == x.zeros->shape() && x.scales->shape(2) == x.columns();
    if (!alike) saved.refuse("packed arrays are not (1, heads, S, ...) of this model");
    x = x.map([](const array& a) { return mx::contiguous(a); });
  } else {
    if (!fits(x.values, layout, size))
      saved.refuse("keys or values are not (1, heads, S, head size) of this model");
    x.values = settled(x.values);
  }
  arrays.erase(arrays.begin(), arrays.begin() + long(n));
  return x;
}

}  // namespace

void SavedKv::refuse(std::string_view why) const {
  throw InputError(describe("cache state of class " + std::string(class_name), why));
}

SavedKv SavedKv::read(const CacheState& s,
                      std::string_view class_name,
                      size_t count,
                      const ops::KvLayout& layout) {
  SavedKv saved = begin(s, class_name);
  if (s.arrays.size() != 2 || s.numbers.size() != count) saved.refuse("wrong number of parts");
  if (s.arrays[0].has_value() != s.arrays[1].has_value()) saved.refuse("keys without values");
  if (!s.arrays[0]) {
    require_offset_zero(saved);
    return saved;
  }
  auto arrays = s.arrays;
  KvPair kv{take_numbers(saved, layout, arrays, layout.k_dim, 0),
            take_numbers(saved, layout, arrays, layout.v_dim, 0)};
  if (kv.k.columns() != kv.v.columns()) saved.refuse("keys and values of different length");
  saved.kv = std::move(kv);
  return saved;
}

SavedKv SavedKv::read_packed(const CacheState& s,
                             std::string_view class_name,
                             size_t count,
                             const ops::KvLayout& layout) {
  SavedKv saved = begin(s, class_name);
  size_t more = s.numbers.size() - count;
  if (s.numbers.size() < count || (more != 2 && more != 3)) saved.refuse("wrong number of parts");
  saved.quant = {
      .k_bits = s.numbers[count + 1], .v_bits = s.numbers.back(), .group_size = s.numbers[count]};
  saved.quant.validate();
  bool empty =
      std::none_of(s.arrays.begin(), s.arrays.end(), [](auto& a) { return a.has_value(); });
  if (empty) {
    require_offset_zero(saved);
    return saved;
  }
  auto arrays = s.arrays;
  KvPair kv{take_numbers(saved, layout, arrays, layout.k_dim, saved.quant.k_bits),
            take_numbers(saved, layout, arrays, layout.v_dim, saved.quant.v_bits)};
  if (!arrays.empty()) saved.refuse("wrong number of parts");
  if (kv.k.columns() != kv.v.columns()) saved.refuse("keys and values of different length");
  saved.kv = std::move(kv);
  return saved;
}

CacheState saved_packed(std::string_view class_name,
                        const std::optional<KvPair>& kv,
                        std::vector<int> numbers,
                        const KvQuant& quant) {
  CacheState s{.class_name = std::string(class_name), .arrays = {}, .numbers = {}, .parts = {}};
  if (kv)
    for (auto* x : {&kv->k, &kv->v})
      for (auto& a : x->arrays()) s.arrays.emplace_back(a);
  s.numbers = std::move(numbers);
  s.numbers.push_back(quant.group_size);
  s.numbers.push_back(quant.k_bits);
  if (quant.v_bits != quant.k_bits) s.numbers.push_back(quant.v_bits);
  return s;
}

}  // namespace mlxcpp::lm
