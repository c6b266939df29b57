#include "mlxcpp/ops/choose.h"

#include "mlxcpp/ops/cpu/elementwise.h"
#include "mlxcpp/ops/detail/draw.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/view.h"
#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace mlxcpp::ops {
namespace {

using Arrays = std::vector<array>;

bool ours(const array& x) {
  return own_kernels() && x.dtype() == mx::float32 && x.ndim() == 2 && x.size() > 0;
}

detail::View<float> numbers(const array& x) { return detail::View<float>::in_order(x); }

using Rows = std::shared_ptr<const std::vector<Draw>>;

Arrays with_mu(const array& x, const std::optional<array>& mu) {
  return mu ? Arrays{x, *mu} : Arrays{x};
}
std::optional<array> mu_of(const Arrays& in) {
  return in.size() > 1 ? std::optional(in[1]) : std::nullopt;
}

/// What rows ask for decides how many outputs a draw has, in this order.
struct Asked {
  bool logprobs = false, mu = false;
  int top = 0;
  explicit Asked(const std::vector<Draw>& rows) {
    for (auto& d : rows) {
      logprobs |= d.logprob;
      mu |= d.mirostat;
      top = std::max(top, d.top_logprobs);
    }
  }
  Drawn named(Arrays outputs) const {
    auto next = outputs.begin();
    Drawn out{.ids = *next};
    if (logprobs) out.logprobs = *++next;
    if (top > 0) out.top_ids = *++next, out.top_logprobs = *++next;
    if (mu) out.mu = *++next;
    return out;
  }
  static Arrays listed(Drawn d) {
    Arrays out{d.ids};
    for (auto& a : {d.logprobs, d.top_ids, d.top_logprobs, d.mu})
      if (a) out.push_back(*a);
    return out;
  }
};

void run_draw(const std::vector<Draw>& rows, const Arrays& in, Arrays& out) {
  Asked asked(rows);
  auto x = numbers(in[0]);
  std::optional<detail::View<float>> mu;
  if (in.size() > 1) mu = numbers(in[1]);
  cpu::DrawnRows to{.ids = out[0].data<unsigned>(), .top = asked.top};
  std::size_t next = 1;
  if (asked.logprobs) to.logprobs = detail::floats(out[next++]);
  if (asked.top > 0) {
    to.top_ids = out[next++].data<unsigned>();
    to.top_logprobs = detail::floats(out[next++]);
  }
  if (asked.mu) to.mu = detail::floats(out[next++]);
  cpu::draw(x.data(), in[0].shape(0), in[0].shape(1), rows.data(), mu ? mu->data() : nullptr, to);
}

}  // namespace

array argmax(const array& x) {
  if (!ours(x)) return mx::argmax(x, -1);
  auto run = [](const Arrays& in, Arrays& out) {
    cpu::argmax(numbers(in[0]).data(), in[0].shape(0), in[0].shape(1), out[0].data<unsigned>());
  };
  return detail::kernel(
      "ArgMax",
      {x.shape(0)},
      {x},
      run,
      [](const Arrays& in) -> Arrays { return {mx::argmax(in[0], -1)}; },
      mx::uint32);
}

array log_softmax(const array& x) {
  auto of_mlx = [](const array& a) { return mx::subtract(a, mx::logsumexp(a, -1, true)); };
  if (!ours(x)) return of_mlx(x);
  auto run = [](const Arrays& in, Arrays& out) {
    cpu::log_softmax(numbers(in[0]).data(), in[0].shape(0), in[0].shape(1), detail::floats(out[0]));
  };
  return detail::kernel("LogSoftmax", x.shape(), {x}, run, [of_mlx](const Arrays& in) -> Arrays {
    return {of_mlx(in[0])};
  });
}

Drawn draw(const array& scores, std::vector<Draw> how, const std::optional<array>& mu) {
  array x = mx::astype(scores, mx::float32);
  Asked asked(how);
  if (!ours(x)) return detail::draw_of_mlx(x, how, mu);
  Rows rows = std::make_shared<const std::vector<Draw>>(std::move(how));
  int count = x.shape(0);
  std::vector<std::pair<mx::Shape, mx::Dtype>> outputs{{{count}, mx::uint32}};
  if (asked.logprobs) outputs.push_back({{count}, mx::float32});
  if (asked.top > 0) {
    outputs.push_back({{count, asked.top}, mx::uint32});
    outputs.push_back({{count, asked.top}, mx::float32});
  }
  if (asked.mu) outputs.push_back({{count}, mx::float32});
  auto run = [rows](const Arrays& in, Arrays& out) { run_draw(*rows, in, out); };
  auto composition = [rows](const Arrays& in) {
    return Asked::listed(detail::draw_of_mlx(in[0], *rows, mu_of(in)));
  };
  return asked.named(detail::kernel("Draw", outputs, with_mu(x, mu), run, composition));
}

array filtered(const array& scores, std::vector<Draw> how, const std::optional<array>& mu) {
  array x = mx::astype(scores, mx::float32);
  if (!ours(x)) return detail::filtered_of_mlx(x, how, mu);
  Rows rows = std::make_shared<const std::vector<Draw>>(std::move(how));
  auto run = [rows](const Arrays& in, Arrays& out) {
    auto v = numbers(in[0]);
    std::optional<detail::View<float>> state;
    if (in.size() > 1) state = numbers(in[1]);
    cpu::filter(v.data(),
                in[0].shape(0),
                in[0].shape(1),
                rows->data(),
                state ? state->data() : nullptr,
                detail::floats(out[0]));
  };
  auto composition = [rows](const Arrays& in) -> Arrays {
    return {detail::filtered_of_mlx(in[0], *rows, mu_of(in))};
  };
  return detail::kernel("Filter", x.shape(), with_mu(x, mu), run, composition);
}

array edited(const array& scores, std::vector<std::vector<Edit>> edits) {
  array x = mx::astype(scores, mx::float32);
  bool any = std::any_of(edits.begin(), edits.end(), [](auto& row) { return !row.empty(); });
  if (!any) return x;
  if (!ours(x)) return detail::edited_of_mlx(x, edits);
  auto rows = std::make_shared<const std::vector<std::vector<Edit>>>(std::move(edits));
  auto run = [rows](const Arrays&, Arrays& out) {
    int size = out[0].shape(1);
    for (std::size_t r = 0; r < rows->size(); ++r)
      cpu::edit(detail::floats(out[0]) + r * std::size_t(size), size, (*rows)[r]);
  };
  auto composition = [rows](const Arrays& in) -> Arrays {
    return {detail::edited_of_mlx(in[0], *rows)};
  };
  return detail::kernel(
      "Edit", {{x.shape(), mx::float32}}, {x}, run, composition, /*reuse=*/{0})[0];
}

}  // namespace mlxcpp::ops
