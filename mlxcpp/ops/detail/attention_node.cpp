#include "mlxcpp/ops/detail/attention_node.h"

#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/sight.h"
#include "mlxcpp/ops/detail/weights.h"

#include <mlx/ops.h>

#include <algorithm>

namespace mlxcpp::ops::detail {

static_assert(kHole == cpu::kNoToken, "kernels read key_index as it is");

NumbersAt::NumbersAt(const KvNumbers& x, std::vector<array>* inputs)
    : values(int(inputs->size())),
      scales(x.scales ? values + 1 : -1),
      zeros(x.scales ? values + 2 : -1),
      bits(x.bits),
      group_size(x.group_size) {
  for (auto& a : x.arrays()) inputs->push_back(a);
}

KvNumbers NumbersAt::of(const std::vector<array>& in) const {
  KvNumbers x(in[values]);
  if (scales >= 0) x.scales = in[scales], x.zeros = in[zeros];
  x.bits = bits, x.group_size = group_size;
  return x;
}

ViewInputs::ViewInputs(const KvView& kv, std::vector<array>* inputs) : rows_(kv.rows) {
  for (auto& from : kv.parts) {
    Part part{{}, -1, from.recent, from.kept};
    for (auto& p : from.pieces) part.pieces.push_back({{p.k, inputs}, {p.v, inputs}, p.columns});
    if (from.key_index) {
      part.key_index = int(inputs->size());
      inputs->push_back(mx::astype(*from.key_index, mx::int32));
    }
    parts_.push_back(std::move(part));
  }
}

KvView ViewInputs::view(const std::vector<array>& in) const {
  KvView kv{{}, rows_};
  for (auto& from : parts_) {
    KvPart part{.pieces = {}, .key_index = {}, .recent = from.recent, .kept = from.kept};
    for (auto& p : from.pieces) part.pieces.emplace_back(p.k.of(in), p.v.of(in), p.columns);
    if (from.key_index >= 0) part.key_index = in[from.key_index];
    kv.parts.push_back(std::move(part));
  }
  return kv;
}

RowsOfKeys::RowsOfKeys(const KvView& kv, const AttentionArgs& args, const ChosenKeys& chosen) {
  const Rows& rows = *kv.rows;
  bool together = kv.parts.size() == 1;
  for (int b = 0; b < rows.batch; ++b) {
    const KvPart& part = kv.parts[together ? 0 : b];
    int row = together ? b : 0;
    add(part, rows, b, row);
    cpu::RowKeys& r = rows_.back();
    r.all = sees_all(part, rows, args);
    size_t i = together ? 0 : size_t(b);
    if (i >= chosen.size() || !chosen[i]) continue;
    allowed_.push_back(View<unsigned char>::in_order(*chosen[i]));
    r.allowed = allowed_.back().data() + long(row) * rows.length * r.keys;
  }
}

void RowsOfKeys::add(const KvPart& part, const Rows& rows, int b, int row) {
  pieces_.emplace_back();
  int keys = 0;
  for (auto& p : part.pieces) {
    kv_heads_ = p.k.values.shape(1);
    if (!p.columns) continue;
    keys += p.columns;
    cpu::KeyPiece piece{{}, {}, p.columns};
    point_at(p.k, row, &piece.k);
    point_at(p.v, row, &piece.v);
    pieces_.back().push_back(piece);
  }
  cpu::RowKeys r{.pieces = pieces_.back().data(),
                 .count = int(pieces_.back().size()),
                 .keys = keys,
                 .offset = rows.offsets[b],
                 .end = rows.end(b),
                 .kept_first = part.kept.first,
                 .kept_last = part.kept.last};
  if (part.key_index) {
    indices_.push_back(View<int>::in_order(*part.key_index));
    r.index = indices_.back().data() + long(row) * keys;
  }
  rows_.push_back(r);
}

void RowsOfKeys::point_at(const KvNumbers& x, int row, cpu::KeyNumbers* to) {
  if (x.scales || x.rounded()) {
    *to = key_numbers(x, row);
    return;
  }
  floats_.emplace_back(x.values);
  auto& view = floats_.back();
  to->data = view.data() + row * view.stride(0);
  to->head = view.stride(1), to->token = view.stride(2);
}

cpu::KeyNumbers key_numbers(const KvNumbers& x, int row) {
  if (x.rounded())
    return cpu::KeyNumbers::half(x.values.data<mx::float16_t>() + row * long(x.values.strides(0)),
                                 long(x.values.strides(1)),
                                 long(x.values.strides(2)),
                                 x.size());
  if (!x.scales)
    return {.data = x.values.data<float>() + row * long(x.values.strides(0)),
            .head = long(x.values.strides(1)),
            .token = long(x.values.strides(2))};
  auto bytes = [](const array& a, int axis) { return long(a.strides(axis)) * long(a.itemsize()); };
  auto start = [&](const array& a) { return a.data<char>() + row * bytes(a, 0); };
  cpu::KeyNumbers to;
  cpu::Matrix& m = to.packed;
  m.coding = *affine_coding(x.bits);
  m.data = start(x.values), m.scales = start(*x.scales), m.zeros = start(*x.zeros);
  m.row_bytes = bytes(x.values, 2), m.scale_row_bytes = bytes(*x.scales, 2);
  m.rows = x.columns(), m.columns = x.scales->shape(3) * x.group_size;
  m.group = x.group_size;
  m.scale_type = *number_of(x.scales->dtype());
  to.head_bytes = bytes(x.values, 1), to.head_scale_bytes = bytes(*x.scales, 1);
  return to;
}

bool kernels_read(const KvView& kv) {
  auto known = [](const KvNumbers& x) {
    return x.scales ? bool(affine_coding(x.bits)) && bool(number_of(x.scales->dtype()))
                    : x.dtype() == mx::float32;
  };
  return std::all_of(kv.parts.begin(), kv.parts.end(), [&](auto& part) {
    return std::all_of(
        part.pieces.begin(), part.pieces.end(), [&](auto& p) { return known(p.k) && known(p.v); });
  });
}

void attend(const Attending& a, array& out) {
  int B = a.shape[0], H = a.shape[1], L = a.shape[2];
  cpu::attention({.rows = B,
                  .heads = H,
                  .kv_heads = a.keys->kv_heads(),
                  .queries = L,
                  .k_size = a.shape[3],
                  .v_size = a.v_size,
                  .q = a.q,
                  .keys = a.keys->rows(),
                  .out = floats(out),
                  .out_row = long(L) * H * a.v_size,
                  .out_head = a.v_size,
                  .out_token = long(H) * a.v_size,
                  .scale = a.args->scale,
                  .softcap = a.args->softcap,
                  .sinks = a.sinks,
                  .causal = a.args->causal,
                  .window = a.args->window,
                  .chunk = a.args->chunk,
                  .spans = a.spans});
}

}  // namespace mlxcpp::ops::detail
