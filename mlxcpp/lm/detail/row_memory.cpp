#include "mlxcpp/lm/detail/row_memory.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/detail/memory.h"
#include "mlxcpp/lm/draft_model.h"
#include "mlxcpp/lm/model.h"

#include <algorithm>
#include <string>

namespace mlxcpp::lm::detail {
namespace {

/// The model that guesses for the row; null: none.
const LanguageModel* draft_of(const Row& row) {
  auto& s = row.answer.options().speculation;
  return s.kind == DraftKind::model ? s.draft.get() : nullptr;
}

/// What the row's cache is going to hold after its next pass, without guesses.
int after_pass(const Row& row) {
  return int(row.cache->ids.size()) + std::max(1, row.guessing ? row.guessing->unfed() : 0);
}

}  // namespace

RowMemory::RowMemory(const LanguageModel& model, const BatchOptions& o, const Earlier& earlier)
    : model_(model),
      earlier_(earlier),
      layout_(model.layout()),
      budget_(model, o.memory_limit, o.max_rows, o.step.prefill_step_size) {}

std::uint64_t RowMemory::bytes_of(const Row& row, int tokens) const {
  return cache_bytes(layout_, row.cache->options, tokens) +
         (row.guessing ? row.guessing->most_bytes(tokens) : 0);
}

/// Of the draft model itself; a model that guesses for itself is there already.
std::uint64_t RowMemory::draft_bytes(const Row& row) const {
  auto* draft = draft_of(row);
  return draft && draft != &model_ ? budget_.draft_bytes(*draft, ModelDraft::kChunk) : 0;
}

bool RowMemory::shares_draft(const Row& row) const { return drafts_.count(draft_of(row)) > 0; }

void RowMemory::require(const Row& row) const {
  int tokens = row.first_tokens();
  auto draft = draft_bytes(row), all = bytes_of(row, tokens) + draft;
  if (all <= limit()) return;
  auto own = cache_bytes(layout_, row.cache->options, tokens);
  std::string of = " for " + std::to_string(tokens) + " tokens";
  if (own > limit())
    throw CapacityError(describe("request",
                                 "prompt and answer need more memory than there is for caches",
                                 "at most " + mebibytes(limit()),
                                 mebibytes(own) + of));
  throw CapacityError(
      describe("draft",
               "what guesses needs more memory than there is beside the caches",
               "at most " + mebibytes(limit() - own),
               mebibytes(all - own) + of + ", of it " + mebibytes(draft) + " for the draft model",
               "requests without guesses"));
}

bool RowMemory::fits(const Row& row) const {
  return budget_.fits(bytes_of(row, row.first_tokens()) +
                      (shares_draft(row) ? 0 : draft_bytes(row)));
}

void RowMemory::begin(Row& row) {
  if (auto* draft = draft_of(row); draft && drafts_[draft]++ == 0)
    budget_.reserve(draft_bytes(row));
  reserve(row, row.first_tokens());
}

void RowMemory::end(Row& row) {
  budget_.release(row.reserved);
  auto draft = drafts_.find(draft_of(row));
  if (!row.begun() || draft == drafts_.end() || --draft->second) return;
  drafts_.erase(draft);
  budget_.release(draft_bytes(row));
}

bool RowMemory::reserve(Row& row, int tokens) {
  auto bytes = bytes_of(row, tokens);
  auto more = bytes > row.reserved ? bytes - row.reserved : 0;
  if (!budget_.reserve(more)) return false;
  earlier_.give_way(limit() - used());
  row.reserved += more;
  row.reserved_tokens = tokens;
  return true;
}

bool RowMemory::has_room(Row& row) {
  int needed = after_pass(row);
  if (needed <= row.reserved_tokens) return true;
  return reserve(row, needed + kGrowth) || reserve(row, needed);
}

std::uint64_t RowMemory::with_room(const Row& row) const {
  return used() - row.reserved + bytes_of(row, after_pass(row));
}

}  // namespace mlxcpp::lm::detail
