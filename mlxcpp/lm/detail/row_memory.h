// What the rows of a batch take of its memory: their caches, those of their drafts, and draft
// models.
#pragma once

#include "mlxcpp/lm/detail/budget.h"
#include "mlxcpp/lm/detail/earlier.h"
#include "mlxcpp/lm/detail/row.h"

#include <cstdint>
#include <map>

namespace mlxcpp::lm::detail {

/// All is reserved before it is used.  A draft model counts once, while a row that it guesses for
/// has begun.
class RowMemory {
 public:
  /// `earlier` gives way to rows.  Throws as Budget.
  RowMemory(const LanguageModel& model, const BatchOptions& options, const Earlier& earlier);

  /// Throws CapacityError for a row that could not be met if it were alone.
  void require(const Row& row) const;
  bool fits(const Row& row) const;  ///< whether it can begin
  void begin(Row& row);             ///< takes what it needs for that, which fits
  void end(Row& row);               ///< gives back all that it has
  /// Whether there is memory for one more token, which is then the row's.
  bool has_room(Row& row);
  /// All that rows have, if this one had that, too.
  std::uint64_t with_room(const Row& row) const;

  std::uint64_t used() const { return budget_.used(); }
  std::uint64_t limit() const { return budget_.limit(); }

 private:
  std::uint64_t bytes_of(const Row& row, int tokens) const;
  std::uint64_t draft_bytes(const Row& row) const;
  bool shares_draft(const Row& row) const;
  bool reserve(Row& row, int tokens);

  const LanguageModel& model_;
  const Earlier& earlier_;
  CacheLayout layout_;
  Budget budget_;
  std::map<const LanguageModel*, int> drafts_;  // -> begun rows that guess with it
};

}  // namespace mlxcpp::lm::detail
