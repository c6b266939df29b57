#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/detail/attention_node.h"
#include "mlxcpp/ops/detail/fused.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>

#include <utility>

namespace mlxcpp::ops::detail {
namespace {

/// These nodes write caches in place: they are not made while a transformation traces.
std::vector<array> no_composition(const std::vector<array>&) {
  throw Error(ErrorKind::internal, "a fused layer can not be traced");
}

/// Whether x can be the input of a node, (..., size); what does not fit is MLX's to complain about.
bool usable(const array& x) {
  return own_kernels() && x.dtype() == mx::float32 && !x.is_tracer() && x.size() > 0;
}
bool of_pass(const array& x, int size, const Rows& rows) {
  return x.shape() == mx::Shape{rows.batch, rows.length, size};
}

using Keys = std::vector<BoundAttention::Keys>;

/// Storage of some rows among a node's inputs and outputs.
struct Places {
  struct Before {
    NumbersAt k, v;
    int columns;
  };
  std::vector<Before> before;
  bool half;
  KvRoom::Sight sight;

  BoundAttention::Keys keys(const std::vector<array>& in, array& k, array& v) const {
    BoundAttention::Keys to{k.data<void>(), v.data<void>(), half, k.shape(2), {}, sight};
    for (auto& b : before)
      to.before.push_back({key_numbers(b.k.of(in), 0), key_numbers(b.v.of(in), 0), b.columns});
    return to;
  }
};

/// A node over (h, [residual], storage of each row) that gives y and the storage with the pass in
/// it.  run(h, residual, y, keys) is called on the stream's thread.
template <class Run>
std::optional<array> with_keys(const char* name,
                               std::vector<array> inputs,
                               const mx::Shape& shape,
                               const Layer& layer,
                               Run run) {
  KvStore* store = layer.kv.empty() ? nullptr : layer.kv[0];
  std::vector<std::pair<mx::Shape, mx::Dtype>> outputs{{shape, mx::float32}};
  std::vector<int> reuse{-1};
  std::vector<Places> places;
  bool with_residual = inputs.size() > 1;
  if (store) {
    auto rooms = store->room(*layer.rows);
    if (rooms.empty()) return {};
    for (auto& room : rooms) {
      int at = int(inputs.size());
      auto &k = room.k.values, &v = room.v.values;
      outputs.emplace_back(k.shape(), k.dtype()), reuse.push_back(at);
      outputs.emplace_back(v.shape(), v.dtype()), reuse.push_back(at + 1);
      inputs.push_back(std::move(k)), inputs.push_back(std::move(v));
      Places p{{}, room.k.rounded(), std::move(room.sight)};
      for (auto& piece : room.before)
        p.before.push_back({{piece.k, &inputs}, {piece.v, &inputs}, piece.columns});
      places.push_back(std::move(p));
    }
  }
  auto bind = [run, places, with_residual](const std::vector<array>& in,
                                           std::vector<array>& out) -> std::function<void()> {
    Keys keys;
    for (size_t i = 0; i < places.size(); ++i)
      keys.push_back(places[i].keys(in, out[1 + 2 * i], out[2 + 2 * i]));
    const float* residual = with_residual ? in[1].data<float>() : nullptr;
    return [run, h = in[0].data<float>(), residual, y = out[0].data<float>(), keys] {
      run(h, residual, y, keys);
    };
  };
  auto kernel = std::make_shared<Kernel>(name, Kernel::Bind(std::move(bind)), no_composition);
  kernel->reuse = std::move(reuse);
  auto made = nodes(std::move(kernel), std::move(outputs), std::move(inputs));
  std::vector<std::pair<array, array>> filled;
  for (size_t i = 0; i < places.size(); ++i) filled.emplace_back(made[1 + 2 * i], made[2 + 2 * i]);
  if (store) store->fill(filled);
  return made[0];
}

}  // namespace

std::optional<array> fused_attention(const array& x,
                                     const SelfAttention& a,
                                     const Layer& layer,
                                     const std::optional<array>& residual) {
  if (!usable(x) || (residual && !usable(*residual)) || !plain_pass(*layer.rows)) return {};
  auto bound = BoundAttention::of(a);
  if (!bound || !of_pass(x, bound->inputs(), *layer.rows)) return {};
  if (residual && !of_pass(*residual, bound->outputs(), *layer.rows)) return {};
  std::vector<array> inputs{dense_float(x)};
  if (residual) inputs.push_back(dense_float(*residual));
  mx::Shape shape = x.shape();
  shape.back() = bound->outputs();
  auto run = [bound, rows = layer.rows](
                 const float* h, const float* add, float* y, const Keys& keys) {
    bound->run(h, h, BoundAttention::Queries::all(*rows), add, y, *rows, keys);
  };
  return with_keys("Attention", std::move(inputs), shape, layer, run);
}

std::optional<array> fused_mlp(const array& x, const Mlp& m, const std::optional<array>& residual) {
  if (!usable(x) || (residual && !usable(*residual))) return {};
  auto bound = BoundMlp::of(m);
  if (!bound || x.shape(-1) != bound->inputs()) return {};
  std::vector<array> inputs{dense_float(x)};
  if (residual) inputs.push_back(dense_float(*residual));
  mx::Shape shape = x.shape();
  shape.back() = bound->outputs();
  if (residual && residual->shape() != shape) return {};
  auto run = [bound](const std::vector<array>& in, std::vector<array>& out) {
    const float* add = in.size() > 1 ? in[1].data<float>() : nullptr;
    bound->run(in[0].data<float>(), add, out[0].data<float>(), int(in[0].size() / in[0].shape(-1)));
  };
  return kernel("Mlp", shape, std::move(inputs), run, no_composition);
}

std::optional<array> fused_layer(const array& h,
                                 const LayerPlan& plan,
                                 const Layer& layer,
                                 bool is_last) {
  if (!usable(h) || !plain_pass(*layer.rows)) return {};
  auto bound = BoundLayer::of(plan);
  if (!bound || !of_pass(h, bound->size(), *layer.rows)) return {};
  auto run = [bound, rows = layer.rows, is_last](
                 const float* x, const float*, float* y, const Keys& keys) {
    if (is_last)
      bound->run_needed(x, y, *rows, keys);
    else
      bound->run(x, y, *rows, keys);
  };
  return with_keys("Layer", {dense_float(h)}, h.shape(), layer, run);
}

}  // namespace mlxcpp::ops::detail
