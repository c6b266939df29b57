#include "mlxcpp/nn/mamba2.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"

#include <mlx/ops.h>

#include <array>
#include <climits>
#include <cstdint>
#include <string>
#include <utility>

namespace mlxcpp::nn {
namespace {

/// by[0] for the gate's outputs, and so on.
array for_each_output(const std::vector<float>& by, const Mamba2Shape& s) {
  const int widths[] = {s.inner(), s.inner(), s.shared(), s.shared(), s.heads};
  std::vector<float> all;
  for (size_t part = 0; part < std::size(widths); ++part)
    all.insert(all.end(), widths[part], by.at(part));
  return array(all.data(), {int(all.size())});
}

}  // namespace

void Mamba2Shape::fields(io::Fields& f, const Keys& keys) {
  for (auto [key, extent] : {std::pair{keys.heads, &heads},
                             {keys.head_dim, &head_dim},
                             {keys.groups, &groups},
                             {keys.state, &state},
                             {keys.kernel, &kernel}}) {
    if (key.empty()) continue;
    *extent ? f.may(key, extent) : f.need(key, extent);
    io::require_positive(f.where(key), *extent);
  }
  f.may(keys.conv_bias, &conv_bias).may_unbounded("time_step_limit", &time_step_limit);
  io::require_product(f.where(keys.heads), heads, head_dim);
  io::require_product(f.where(keys.state), groups, state);
  std::int64_t outputs = 2 * std::int64_t(inner()) + 2 * std::int64_t(shared()) + heads;
  io::require_in_range(f.where(keys.heads), outputs, 1, INT_MAX);
  io::require_divisible(f.where(keys.heads), heads, keys.groups, groups);
  if (time_step_limit.size() == 2 && time_step_limit[0] <= time_step_limit[1]) return;
  std::string found;
  for (float x : time_step_limit) found += (found.empty() ? "" : ", ") + std::to_string(x);
  throw ConfigError(
      describe(f.where("time_step_limit"), "not a range", "the least and the most", found));
}

Mamba2::Mamba2(Scope s, int dim, const Mamba2Shape& c, const Mamba2Kind& kind)
    : shape(c),
      act(kind.act),
      norm_before_gate(kind.norm_before_gate),
      in(s / "in_proj", dim, c.inner() + c.mixed() + c.heads, c.in_bias),
      out(s / "out_proj", c.inner(), dim, c.out_bias),
      conv((s / "conv1d").take("weight", {c.mixed(), c.kernel, 1})),
      ssm{.a_log = s.take("A_log", {c.heads}),
          .d = s.take("D", {c.heads}),
          .dt_bias = s.take("dt_bias", {c.heads}),
          .dt_min = c.time_step_limit[0],
          .dt_max = c.time_step_limit[1]} {
  if (c.conv_bias) conv_bias = (s / "conv1d").take("bias", {c.mixed()});
  if (kind.norm_eps) norm.emplace(s / "norm", c.inner(), *kind.norm_eps);
  if (!kind.multipliers.empty()) multipliers = for_each_output(kind.multipliers, c);
}

array Mamba2::operator()(const array& x, const ops::Layer& layer) const {
  array projected = in(x);
  if (multipliers) projected = mx::multiply(projected, mx::astype(*multipliers, projected.dtype()));
  int inner = shape.inner(), shared = shape.shared(), mixes = shape.mixed();
  // The projection gives the gate, x B C, and dt.
  array mixed = ops::causal_conv({projected, inner, 1, mixes}, conv, conv_bias, layer, 0, act);
  array y = ops::ssm_scan({mixed, 0, shape.heads, shape.head_dim},
                          {projected, inner + mixes, 1, shape.heads},
                          {mixed, inner, shape.groups, shape.state},
                          {mixed, inner + shared, shape.groups, shape.state},
                          ssm,
                          layer,
                          1);
  ops::NormKind kind{
      .groups = shape.groups, .eps = norm ? norm->eps : 0, .gate_first = norm && !norm_before_gate};
  return out(ops::gated_norm(y, {projected, 0, 1, inner}, norm ? norm->weight : nullptr, kind));
}

}  // namespace mlxcpp::nn
