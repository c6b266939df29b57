#include "mlxcpp/ops/recurrent.h"

#include <mlx/ops.h>

namespace mlxcpp::ops {

array causal_conv(const array& x,
                  const Param& weight,
                  const std::optional<Param>& bias,
                  const Layer& layer,
                  int slot) {
  State& state = *layer.states.at(slot);
  const Rows& rows = *layer.rows;
  int B = x.shape(0), C = x.shape(2), keep = weight->shape(1) - 1;
  array in = mx::concatenate({state ? *state : mx::zeros({B, keep, C}, x.dtype()), x}, 1);
  if (rows.full) {
    state = mx::contiguous(mx::slice(in, {0, in.shape(1) - keep, 0}, in.shape()));
  } else {  // the inputs before a row's own end, not before the padding's
    array first = mx::subtract(rows.ends(), rows.offset);
    array columns = mx::add(mx::expand_dims(first, 1), mx::arange(0, keep, mx::int32));
    state = mx::take_along_axis(in, mx::expand_dims(columns, -1), 1);
  }
  array y = mx::conv1d(in, *weight, 1, 0, 1, C);
  return bias ? mx::add(y, **bias) : y;
}

}  // namespace mlxcpp::ops
