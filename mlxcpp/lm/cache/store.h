// Storage of one attention of one layer, for one row: what every kind of cache can do.
#pragma once

#include "mlxcpp/lm/caches.h"
#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/kv.h"

#include <memory>
#include <optional>
#include <vector>

namespace mlxcpp::lm {

/// (1, K, columns, dk) and (1, K, columns, dv).
struct KvPair {
  ops::KvNumbers k, v;

  int columns() const { return k.columns(); }
  template <class F>
  KvPair map(F f) const {
    return {k.map(f), v.map(f)};
  }
};

/// Whether a store rounds float32 to float16.
bool rounds_kv(const ops::KvLayout& layout, const KvQuant& quant);

class CacheStore {
 public:
  CacheStore(const ops::KvLayout& layout, const KvQuant& quant) : layout_(layout), quant_(quant) {}
  virtual ~CacheStore() = default;
  virtual std::unique_ptr<CacheStore> clone() const = 0;  ///< shares the arrays

  /// Adds tokens after the first `offset`: (1, K, n, d) each, n of 0 changes nothing.  Returns what
  /// attention may read.
  virtual ops::KvPart append(const array& k, const array& v, int offset) = 0;
  /// ops::KvStore's, for one row and `tokens` of it.
  virtual std::optional<ops::KvRoom> room(int offset, int tokens) = 0;
  virtual void fill(const array& k, const array& v) = 0;
  /// A hint: so many tokens are to come in all.
  virtual void reserve(int /*tokens*/) {}
  virtual void trim(int /*consumed*/) {}  ///< to the first `consumed` tokens; only if !forgot()

  /// True when a row of this many tokens can no longer be trimmed.
  virtual bool forgot(int consumed) const = 0;
  virtual bool forgets() const = 0;  ///< whether a mark must hold a copy
  virtual CacheState state(int consumed) const = 0;
  /// Returns how many tokens the state says were consumed.
  virtual int set_state(const CacheState& state) = 0;

  /// Whether rows of the other may stand beside rows of this one.
  virtual bool like(const CacheStore& other) const = 0;
  virtual std::vector<array> arrays() const = 0;   ///< all that is stored
  virtual std::vector<array> written() const = 0;  ///< those that a pass may have written

  /// Storage that forks share, and how many of its columns this store uses.
  struct Share {
    std::shared_ptr<KvPair>* segment;
    int columns;
  };
  virtual std::vector<Share> shares() { return {}; }

 protected:
  static constexpr int kStep = 256;  // columns are added by this many
  static int rounded_up(int columns) { return (columns + kStep - 1) / kStep * kStep; }

  bool same_layout(const CacheStore& other) const;
  /// Fresh keys and values as they are stored, before they are packed and packed.  A store that
  /// took over packed ones rounds no more.
  KvPair unpacked(const array& k, const array& v) const;
  KvPair packed(const array& k, const array& v) const;
  /// Zeros that stand for float32, not packed.
  KvPair blank(int columns) const;

  ops::KvLayout layout_;
  KvQuant quant_;
};

/// A kind of cache by its layout: RotatingKv for a window that is smaller than what it would grow
/// to.  Throws InputError when its numbers can not be packed as the options say.
std::unique_ptr<CacheStore> make_store(const ops::KvLayout& layout, const CacheOptions& options);

inline KvPair take_columns(const KvPair& p, int from, int to) {
  return p.map([&](const array& x) { return ops::take_columns(x, from, to, 2); });
}
/// `columns` more, zeros, of the kind of p.
KvPair widened(const KvPair& p, int columns);
/// Columns of the kind of p whose numbers are anything: for kernels that read no more than they are
/// told to.  (Writing zeros took longer than a short prompt.)
KvPair unset(const KvPair& p, int columns);
/// What a kernel wrote, of the kind of p.
KvPair refilled(const KvPair& p, const array& k, const array& v);
/// x at column `at` of `to`.
KvPair written_at(const KvPair& to, const KvPair& x, int at);
/// The first `columns` of p, which is evaluated, in memory of their own.
KvPair copied(const KvPair& p, int columns);
KvPair side_by_side(const std::vector<KvPair>& parts);
void append_arrays(const KvPair& p, std::vector<array>* to);

}  // namespace mlxcpp::lm
