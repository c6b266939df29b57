// Threads for one operation at a time.  Chunks are taken, never dealt: no worker is waited for that
// did not come.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>

namespace mlxcpp::cpu {

struct Ahead;  // detail/ahead.h

class Pool {
 public:
  static Pool& instance();
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  /// Calls f(0) ... f(chunks - 1), each once, on any of the threads, the caller's among them;
  /// returns when all are done.  Which thread takes which chunk is open, so results may not depend
  /// on it. The first exception is thrown on, after the chunks that had begun.  One caller at a
  /// time; others wait.  A chunk may not call run().
  /// `next`, which lives until run() returns, is what a later call will read: threads that have
  /// nothing to do fetch the beginning of their share of it, until another call says otherwise;
  /// null: of what was said before.  Its addresses need not be valid.  One chunk or one thread:
  /// nobody waits, so it is not looked at.
  template <class F>
  void run(int chunks, F&& f, const Ahead* next = nullptr) {
    using Body = std::remove_reference_t<F>;
    run_erased(
        chunks,
        [](void* body, int i) { (*static_cast<Body*>(body))(i); },
        const_cast<void*>(static_cast<const void*>(&f)),
        next);
  }

 private:
  friend void set_pool_threads(int);
  struct State;
  void run_erased(int chunks, void (*call)(void*, int), void* body, const Ahead* next);

  int threads_;
  std::unique_ptr<State> state_;
};

/// How many threads this process may use: its affinity, cut to its control group's quota.
int usable_threads();

/// Another number from now on; not while anything runs.
void set_pool_threads(int threads);

/// Memory that a thread keeps for itself from call to call, aligned to 64 bytes.  `slot` tells
/// several apart.
void* thread_scratch(std::size_t bytes, int slot = 0);

}  // namespace mlxcpp::cpu
