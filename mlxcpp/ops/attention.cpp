#include "mlxcpp/ops/attention.h"

#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/detail/attention_node.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/sight.h"
#include "mlxcpp/ops/device.h"

#include <mlx/fast.h>
#include <mlx/ops.h>
#include <mlx/utils.h>

#include <memory>
#include <utility>

namespace mlxcpp::ops {
namespace {

using Arrays = std::vector<array>;

/// Scores written out: a cap between score and softmax has no fused form.
array composed(const array& q, const KvPart& kv, const Rows& rows, const AttentionArgs& a) {
  array k = kv.k(), v = kv.v();
  int K = k.shape(1), H = q.shape(1);
  auto grouped = [&](const array& x) { return mx::expand_dims(x, 2); };
  array scores = mx::matmul(mx::unflatten(scale(q, a.scale), 1, {K, H / K}),
                            mx::swapaxes(grouped(k), -1, -2));  // (B, K, H/K, L, S)
  scores = softcap(scores, a.softcap);
  // Not infinite: a row that sees nothing (idle, or padding) must stay finite.
  array lowest(mx::finfo(scores.dtype()).min, scores.dtype());
  scores = mx::where(grouped(detail::allowed(kv, rows, a)), scores, lowest);
  if (a.sinks) {
    auto shape = scores.shape();
    shape.back() = 1;
    array sinks = mx::reshape(mx::astype(**a.sinks, scores.dtype()), {K, H / K, 1, 1});
    scores = mx::concatenate({mx::broadcast_to(sinks, shape), scores}, -1);
  }
  array p = mx::softmax(scores, -1, true);
  if (a.sinks) p = split_at(p, {1}, -1)[1];
  return mx::flatten(mx::matmul(p, grouped(v)), 1, 2);
}

array attention_of_mlx(const array& queries, const KvView& view, const AttentionArgs& a) {
  return detail::by_parts(view, [&](const detail::OnePart& p) {
    array q = p.of(queries);
    if (p.kv.columns() == 0) {  // an idle row that is still empty
      auto shape = q.shape();
      shape.back() = p.kv.v().shape(-1);
      return mx::zeros(shape, q.dtype());
    }
    if (a.softcap) return composed(q, p.kv, p.rows, a);
    auto m = detail::make_mask(p.kv, p.rows, a);
    std::optional<array> sinks;
    if (a.sinks) sinks = mx::astype(**a.sinks, q.dtype());
    return mx::fast::scaled_dot_product_attention(
        q, p.kv.k(), p.kv.v(), a.scale, m.mode, m.allowed, sinks);
  });
}

/// Heads stand inside tokens, as the projection that follows wants them.
array attention_of_ours(const array& q, const KvView& kv, AttentionArgs args) {
  Arrays inputs{q};
  detail::ViewInputs places(kv, &inputs);
  auto also = [&](const array& x, mx::Dtype dtype) {
    inputs.push_back(mx::astype(x, dtype));
    return int(inputs.size()) - 1;
  };
  int sinks = args.sinks ? also(**args.sinks, mx::float32) : -1;
  int spans = kv.rows->spans ? also(*kv.rows->spans, mx::int32) : -1;
  args.sinks = std::nullopt;
  int v_size = kv.parts[0].v_size();
  auto run = [=](const Arrays& in, Arrays& out) {
    KvView view = places.view(in);
    detail::View<float> x(in[0]);
    std::optional<detail::View<float>> sink;
    std::optional<detail::View<int>> numbers;
    if (sinks >= 0) sink = detail::View<float>::in_order(in[sinks]);
    if (spans >= 0) numbers = detail::View<int>::in_order(in[spans]);
    detail::RowsOfKeys keys(view, args, {});
    detail::attend({.q = {x.data(), x.stride(0), x.stride(1), x.stride(2)},
                    .shape = in[0].shape(),
                    .v_size = v_size,
                    .keys = &keys,
                    .args = &args,
                    .sinks = sink ? sink->data() : nullptr,
                    .spans = numbers ? numbers->data() : nullptr},
                   out[0]);
  };
  auto composition = [=](const Arrays& in) -> Arrays {
    AttentionArgs again = args;
    if (sinks >= 0) again.sinks = std::make_shared<array>(in[sinks]);
    return {mx::transpose(attention_of_mlx(in[0], places.view(in), again), {0, 2, 1, 3})};
  };
  array y = detail::kernel(
      "Attention", {q.shape(0), q.shape(2), q.shape(1), v_size}, inputs, run, composition);
  return mx::transpose(y, {0, 2, 1, 3});
}

}  // namespace

array attention(const array& q, const KvView& kv, const AttentionArgs& a) {
  bool ours = own_kernels() && q.dtype() == mx::float32 && q.size() > 0 && detail::kernels_read(kv);
  return ours ? attention_of_ours(q, kv, a) : attention_of_mlx(q, kv, a);
}

array split_heads(const array& x, int head_dim) {
  return mx::transpose(mx::unflatten(x, -1, {-1, head_dim}), {0, 2, 1, 3});
}

array merge_heads(const array& x) { return mx::flatten(mx::transpose(x, {0, 2, 1, 3}), 2, 3); }

}  // namespace mlxcpp::ops
