#include "mlxcpp/base/strings.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace mlxcpp {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string hex(std::uint64_t n) {
  std::string digits(16, '0');
  for (auto at = digits.rbegin(); n; n >>= 4) *at++ = "0123456789abcdef"[n & 15];
  return digits;
}

}  // namespace mlxcpp
