#include "mlxcpp/lm/engine.h"

#include <mlx/memory.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <future>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mlxcpp::lm {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kLongest = std::chrono::hours(24 * 365);  // what a clock can surely be told

}  // namespace

/// What the engine's thread and all others share.
struct EngineDesk {
  enum class Mode { running, finishing, cancelling, ended };
  struct Arrival {
    Request request;
    std::shared_ptr<ReplyBox> box;
  };

  std::mutex mutex;  // of all below, and of all boxes
  std::condition_variable wake;
  bool changed = false;  // a cancel, or a reader that has caught up
  Mode mode = Mode::running;
  Clock::time_point deadline{};  // of `finishing`
  std::deque<Arrival> arrivals;
  int requests = 0;
  EngineStats stats;

  void call() {
    changed = true;
    wake.notify_one();
  }
};

struct ReplyBox {
  std::shared_ptr<EngineDesk> desk;
  int most_events;
  std::condition_variable filled;
  std::deque<RowEvent> events;
  bool cancelled = false;
  bool closed = false;  // its last event is, or was, in `events`
  bool paused = false;

  ReplyBox(std::shared_ptr<EngineDesk> d, int most) : desk(std::move(d)), most_events(most) {}

  /// All with the desk's mutex held.
  bool ready() const { return closed || !events.empty(); }
  /// Half empty: a row that pauses for each event would slow everybody down.
  bool caught_up() const { return 2 * int(events.size()) <= most_events; }
  Pull take(RowEvent* event) {
    if (events.empty()) return closed ? Pull::ended : Pull::nothing;
    *event = std::move(events.front());
    events.pop_front();
    if (paused && caught_up()) desk->call();
    return Pull::event;
  }
  void put(RowEvent event) {
    if (event.event.stop || event.failure) {
      closed = true;
      --desk->requests;
    }
    events.push_back(std::move(event));
    filled.notify_all();
  }
};

void EngineOptions::validate() const {
  auto refuse = [](const char* field, int found) {
    throw InputError(describe(field, "out of range", "1 or more", std::to_string(found)));
  };
  batch.validate();
  if (max_requests < 1) refuse("max_requests", max_requests);
  if (max_events < 1) refuse("max_events", max_events);
}

// ---- replies

Reply::Reply(std::shared_ptr<ReplyBox> box) : box_(std::move(box)) {}
Reply::Reply(Reply&&) noexcept = default;

Reply& Reply::operator=(Reply&& other) noexcept {
  cancel();
  box_ = std::move(other.box_);
  return *this;
}

Reply::~Reply() { cancel(); }

Pull Reply::next(RowEvent* event) {
  std::unique_lock lock(box_->desk->mutex);
  box_->filled.wait(lock, [&] { return box_->ready(); });
  return box_->take(event);
}

Pull Reply::next(RowEvent* event, std::chrono::milliseconds patience) {
  std::unique_lock lock(box_->desk->mutex);
  box_->filled.wait_for(lock, patience, [&] { return box_->ready(); });
  return box_->take(event);
}

void Reply::cancel() {
  if (!box_) return;
  std::lock_guard lock(box_->desk->mutex);
  if (box_->closed || box_->cancelled) return;
  box_->cancelled = true;
  box_->desk->call();
}

// ---- the engine's thread

struct Engine::Impl {
  using Mode = EngineDesk::Mode;

  EngineOptions options;
  std::shared_ptr<EngineDesk> desk = std::make_shared<EngineDesk>();
  std::optional<ModelContext> context;
  std::optional<Batch> batch;  // the engine's thread only, as all below
  std::map<RowId, std::shared_ptr<ReplyBox>> boxes;
  Clock::time_point measured = Clock::now();
  std::uint64_t tokens_then = 0;
  std::thread thread;

  void make_batch() { batch.emplace(context->shared_model(), context->tokenizer(), options.batch); }

  void run(const Load& load, std::promise<void> loaded) {
    try {
      context.emplace(load());
      if (options.batch.context_length == 0)
        options.batch.context_length = context->config().max_position_embeddings.value_or(0);
      make_batch();
    } catch (...) {
      loaded.set_exception(std::current_exception());
      return;
    }
    loaded.set_value();
    while (wait()) {
      try {
        serve();
      } catch (...) {
        if (!begin_anew(current_failure())) return;
      }
    }
    batch.reset();
  }

  /// Until there is something to do; false when all is done.
  bool wait() {
    std::unique_lock lock(desk->mutex);
    auto something = [&] {
      return desk->changed || !desk->arrivals.empty() || !batch->idle() ||
             desk->mode == Mode::cancelling || (desk->mode == Mode::finishing && !desk->requests);
    };
    if (desk->mode == Mode::finishing)
      desk->wake.wait_until(lock, desk->deadline, something);
    else
      desk->wake.wait(lock, something);
    if (desk->mode == Mode::finishing && Clock::now() >= desk->deadline)
      desk->mode = Mode::cancelling;
    if (desk->mode == Mode::running || desk->requests) return true;
    desk->mode = Mode::ended;
    return false;
  }

  void serve() {
    accept();
    follow_readers();
    deliver(batch->step());
    tell_stats();
  }

  void accept() {
    std::deque<EngineDesk::Arrival> arrivals;
    {
      std::lock_guard lock(desk->mutex);
      arrivals.swap(desk->arrivals);
    }
    for (auto& a : arrivals) {
      try {
        boxes.emplace(batch->add(std::move(a.request)), a.box);
      } catch (...) {
        Failure failure = current_failure();
        std::lock_guard lock(desk->mutex);
        a.box->put({0, {}, std::move(failure)});
      }
    }
  }

  /// Cancels and pauses rows as their readers want it.
  void follow_readers() {
    std::lock_guard lock(desk->mutex);
    desk->changed = false;
    for (auto& [row, box] : boxes) {
      if (box->cancelled || desk->mode == Mode::cancelling) batch->cancel(row);
      if (box->paused && box->caught_up()) batch->pause(row, box->paused = false);
    }
  }

  void deliver(std::vector<RowEvent> events) {
    std::lock_guard lock(desk->mutex);
    for (auto& e : events) {
      auto at = boxes.find(e.row);
      ReplyBox& box = *at->second;
      RowId row = e.row;
      box.put(std::move(e));
      if (box.closed)
        boxes.erase(at);
      else if (!box.paused && int(box.events.size()) >= box.most_events)
        batch->pause(row, box.paused = true);
    }
  }

  void tell_stats() {
    BatchStats now = batch->stats();
    double seconds = std::chrono::duration<double>(Clock::now() - measured).count();
    std::lock_guard lock(desk->mutex);
    if (seconds >= 0.5) {
      desk->stats.tokens_per_second = double(now.generated_tokens - tokens_then) / seconds;
      tokens_then = now.generated_tokens;
      measured = Clock::now();
    }
    desk->stats.batch = now;
    desk->stats.requests = desk->requests;
    desk->stats.mlx_bytes = mx::get_active_memory();
  }

  /// After an error outside of any row, such as exhausted memory: every row ends with it.  False
  /// when not even an empty batch can be made.
  bool begin_anew(const Failure& failure) {
    batch.reset();
    end_all(failure);
    tokens_then = 0;
    try {
      make_batch();
      return true;
    } catch (...) {
      end_all(current_failure());
      std::lock_guard lock(desk->mutex);
      desk->mode = Mode::ended;
      return false;
    }
  }

  void end_all(const Failure& failure) {
    std::lock_guard lock(desk->mutex);
    for (auto& [row, box] : boxes) box->put({row, {}, failure});
    for (auto& a : desk->arrivals) a.box->put({0, {}, failure});
    boxes.clear();
    desk->arrivals.clear();
  }
};

Engine::Engine(Load load, const EngineOptions& options) : impl_(std::make_unique<Impl>()) {
  options.validate();
  impl_->options = options;
  std::promise<void> loaded;
  auto ready = loaded.get_future();
  impl_->thread =
      std::thread([this, load = std::move(load), promise = std::move(loaded)]() mutable {
        impl_->run(load, std::move(promise));
      });
  try {
    ready.get();
  } catch (...) {
    impl_->thread.join();
    throw;
  }
}

Engine::~Engine() { stop(); }

Reply Engine::submit(Request request) {
  auto& desk = *impl_->desk;
  std::lock_guard lock(desk.mutex);
  if (desk.mode != EngineDesk::Mode::running)
    throw CapacityError(describe("engine", "takes no more requests", {}, {}));
  if (desk.requests >= impl_->options.max_requests)
    throw CapacityError(describe("engine",
                                 "too many requests",
                                 "at most " + std::to_string(impl_->options.max_requests),
                                 std::to_string(desk.requests) + " and another one"));
  auto box = std::make_shared<ReplyBox>(impl_->desk, impl_->options.max_events);
  desk.arrivals.push_back({std::move(request), box});
  ++desk.requests;
  desk.wake.notify_one();
  return Reply(std::move(box));
}

void Engine::stop(std::chrono::milliseconds grace) {
  {
    std::lock_guard lock(impl_->desk->mutex);
    if (impl_->desk->mode == EngineDesk::Mode::running) {
      impl_->desk->mode = EngineDesk::Mode::finishing;
      impl_->desk->deadline = Clock::now() + std::min<std::chrono::milliseconds>(grace, kLongest);
      impl_->desk->wake.notify_one();
    }
  }
  if (impl_->thread.joinable()) impl_->thread.join();
}

EngineStats Engine::stats() const {
  std::lock_guard lock(impl_->desk->mutex);
  EngineStats stats = impl_->desk->stats;
  stats.requests = impl_->desk->requests;
  return stats;
}

const ModelContext& Engine::context() const { return *impl_->context; }

}  // namespace mlxcpp::lm
