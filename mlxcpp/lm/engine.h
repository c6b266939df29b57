// A model on a thread of its own: requests come from any thread, answers go to any thread.  That
// thread owns all that touches MLX; what crosses are ids, text and numbers.
#pragma once

#include "mlxcpp/lm/batch.h"
#include "mlxcpp/lm/factory.h"

#include <chrono>
#include <functional>
#include <memory>

namespace mlxcpp::lm {

struct EngineOptions {
  /// context_length 0: what the model's config says.
  BatchOptions batch;
  /// The most requests that run or wait; more are refused.
  int max_requests = 1024;
  /// The most events of an answer that wait for its reader.  The row of a slower one pauses, and no
  /// other.
  int max_events = 64;

  void validate() const;  ///< throws InputError naming the field
};

struct EngineStats {
  BatchStats batch;
  int requests = 0;              // that run or wait
  double tokens_per_second = 0;  // of all rows, lately
  std::uint64_t mlx_bytes = 0;   // that MLX holds
};

enum class Pull {
  event,    // there was one
  nothing,  // none yet
  ended,    // there will be none
};

struct ReplyBox;

/// The answer to a request.  Read by one thread at a time; cancel() from any.  It may outlive the
/// engine.  Dropped before its end, it cancels.
class Reply {
 public:
  Reply(Reply&&) noexcept;
  Reply& operator=(Reply&&) noexcept;
  ~Reply();

  /// Waits for the next event, which has a stop reason or a failure when it is the last.
  Pull next(RowEvent* event);
  /// Waits at most so long; 0: takes what is there.
  Pull next(RowEvent* event, std::chrono::milliseconds patience);
  void cancel();

 private:
  friend class Engine;
  explicit Reply(std::shared_ptr<ReplyBox> box);
  std::shared_ptr<ReplyBox> box_;
};

class Engine {
 public:
  /// Runs on the engine's thread.
  using Load = std::function<ModelContext()>;

  /// Returns when the model is loaded; throws what `load` throws, and as Batch.
  explicit Engine(Load load, const EngineOptions& options = {});
  /// Cancels what runs.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Throws CapacityError when too many requests wait, or after stop().  What else is wrong with a
  /// request is the failure of its first event.  Callbacks and the cache of a request are used on
  /// the engine's thread until its last event.
  Reply submit(Request request);

  /// Takes no more requests, lets those that are here go on for at most `grace`, cancels the
  /// others, and returns when all have ended.
  void stop(std::chrono::milliseconds grace = std::chrono::milliseconds(0));

  EngineStats stats() const;
  /// For its tokenizer, template and config; the model belongs to the engine's thread.
  const ModelContext& context() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mlxcpp::lm
