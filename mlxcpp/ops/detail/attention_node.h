// Attention by our own kernels: views as inputs of a node, and who sees whom as they want it.
#pragma once

#include "mlxcpp/ops/attention.h"
#include "mlxcpp/ops/cpu/attention.h"
#include "mlxcpp/ops/detail/view.h"

#include <memory>
#include <vector>

namespace mlxcpp::ops::detail {

/// Which inputs of a node are the arrays of keys or values.
struct NumbersAt {
  int values, scales, zeros, bits, group_size;  // -1: none

  /// Appends the arrays to the inputs.
  NumbersAt(const KvNumbers& x, std::vector<array>* inputs);
  KvNumbers of(const std::vector<array>& in) const;
};
/// One row of keys or values as kernels read them: the last axis contiguous.
cpu::KeyNumbers key_numbers(const KvNumbers& x, int row);

/// Which inputs of a node are the arrays of a view.
class ViewInputs {
 public:
  /// Appends the arrays to the inputs.
  ViewInputs(const KvView& kv, std::vector<array>* inputs);
  KvView view(const std::vector<array>& in) const;

 private:
  struct Piece {
    NumbersAt k, v;
    int columns;
  };
  struct Part {
    std::vector<Piece> pieces;
    int key_index;
    bool recent;
    Kept kept;
  };
  std::vector<Part> parts_;
  std::shared_ptr<const Rows> rows_;
};

/// Evaluated keys and values as kernels read them, while this lives.
class RowsOfKeys {
 public:
  /// `chosen`: as latent_attention's, uint8.
  RowsOfKeys(const KvView& kv, const AttentionArgs& args, const ChosenKeys& chosen);
  const cpu::RowKeys* rows() const { return rows_.data(); }
  int kv_heads() const { return kv_heads_; }

 private:
  void add(const KvPart& part, const Rows& rows, int row, int row_of_part);
  void point_at(const KvNumbers& x, int row, cpu::KeyNumbers* to);

  std::vector<View<float>> floats_;
  std::vector<View<int>> indices_;
  std::vector<View<unsigned char>> allowed_;
  std::vector<std::vector<cpu::KeyPiece>> pieces_;
  std::vector<cpu::RowKeys> rows_;
  int kv_heads_ = 1;
};

/// Whether kernels know these numbers.
bool kernels_read(const KvView& kv);

/// One call of the kernels.
struct Attending {
  cpu::Heads q;
  mx::Shape shape;  // of q
  int v_size;
  const RowsOfKeys* keys;
  const AttentionArgs* args;
  const float* sinks = nullptr;
  const int* spans = nullptr;
};
/// out: (B, L, H, v_size), in order.
void attend(const Attending& a, array& out);

}  // namespace mlxcpp::ops::detail
