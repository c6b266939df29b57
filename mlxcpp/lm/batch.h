// Many answers at once: rows join and leave between steps, each with its own cache, sampler,
// limits and seed, and each gives the tokens that it would give alone.
#pragma once

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/options.h"
#include "mlxcpp/lm/prompt_cuts.h"
#include "mlxcpp/lm/stream.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::lm {

class LanguageModel;
struct CachedPrompt;  // step.h

struct BatchOptions {
  /// The most rows that generate at once.
  int max_rows = 16;
  /// The most that weights, caches and the scratch memory of a pass may take, in bytes.  0: what
  /// the machine has free.
  std::uint64_t memory_limit = 0;
  /// 0: unlimited.
  int context_length = 0;
  /// How much of the waiting prompts is computed between two steps of the rows that generate. Holds
  /// for all requests, whatever their own say.
  StepOptions step{.prefill_seconds = 0.2};
  /// Requests without a cache of their own find what it has of their prompts, and leave there what
  /// they consumed.  It gives way when rows need the memory.  Nothing: each begins at the start.
  std::shared_ptr<PromptCache> prompts;
  std::string prompts_name;  // of the model there

  void validate() const;  ///< throws InputError naming the field
};

struct Request {
  std::vector<TokenId> prompt;
  GenerateOptions options;
  /// What it holds of the prompt is not computed again; it is advanced, and left with what the row
  /// has consumed.  Nothing: a fresh one.
  std::shared_ptr<CachedPrompt> cache;
  /// Where the prompt is cut for the prompts of later turns (prompt_cuts.h).
  std::vector<PromptCut> cuts;
  /// As Input::adapters.  Absent: the one that the model has chosen.
  std::optional<int> adapter;
};

using RowId = std::uint64_t;

struct RowEvent {
  RowId row;
  Event event;
  std::optional<Failure> failure;  // in place of event.stop in the row's last event
};

struct BatchStats {
  int generating = 0;  // rows that have at least one token, paused ones included
  int waiting = 0;     // rows whose prompt is not computed yet
  int paused = 0;      // of those that generate
  std::uint64_t prompt_tokens = 0, generated_tokens = 0;          // since the beginning
  std::uint64_t cache_bytes_reserved = 0, cache_bytes_limit = 0;  // of the caches' budget
};

/// Belongs to one thread.
class Batch {
 public:
  /// Throws CapacityError when the memory limit leaves nothing beside the weights.
  Batch(std::shared_ptr<const LanguageModel> model,
        const text::Tokenizer& tokenizer,
        const BatchOptions& options = {});
  Batch(Batch&&) noexcept;
  ~Batch();

  /// Queues a request.  Throws InputError as TokenStream does, or for a cache that another row
  /// uses; CapacityError for a request that could not be met if it were alone.  Then nothing
  /// changes.
  RowId add(Request request);
  /// The row's last event comes with the next step.  An id that has ended is of no interest.
  void cancel(RowId row);
  /// A paused row keeps its place and its memory, but gets no tokens.
  void pause(RowId row, bool paused);

  /// One token for the rows that generate, and one chunk of the prompts that wait.  What fails ends
  /// the rows that took part, and no others.
  std::vector<RowEvent> step();
  /// Nothing that step() could do.
  bool idle() const;

  BatchStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mlxcpp::lm
