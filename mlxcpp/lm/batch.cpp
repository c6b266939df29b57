#include "mlxcpp/lm/batch.h"

#include "mlxcpp/lm/detail/answer.h"
#include "mlxcpp/lm/detail/chunk_size.h"
#include "mlxcpp/lm/detail/earlier.h"
#include "mlxcpp/lm/detail/feed.h"
#include "mlxcpp/lm/detail/memory.h"
#include "mlxcpp/lm/detail/row_memory.h"
#include "mlxcpp/lm/detail/schedule.h"

#include <mlx/memory.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

namespace mlxcpp::lm {
namespace {

using detail::Row;

}  // namespace

void BatchOptions::validate() const {
  auto refuse = [](const char* field, const char* expected, int found) {
    throw InputError(describe(field, "out of range", expected, std::to_string(found)));
  };
  if (max_rows < 1) refuse("max_rows", "1 or more", max_rows);
  if (context_length < 0) refuse("context_length", "0 or more", context_length);
  step.validate();
}

struct Batch::Impl {
  std::shared_ptr<const LanguageModel> model;
  text::Tokenizer tokenizer;
  BatchOptions options;
  detail::ChunkSize chunk;
  detail::Earlier earlier;
  detail::RowMemory memory;
  std::vector<std::unique_ptr<Row>> rows;  // in the order of their arrival
  std::vector<RowEvent> events;
  BatchStats counts;
  RowId next_id = 1;
  std::uint64_t steps = 0;
  PassTimes times;
  bool idle = true;

  Impl(std::shared_ptr<const LanguageModel> m, const text::Tokenizer& t, const BatchOptions& o)
      : model(std::move(m)),
        tokenizer(t),
        options((o.validate(), o)),
        chunk(options.step),
        earlier(*model, o.prompts, o.prompts_name),
        memory(*model, o, earlier) {}

  // ---- rows come and go

  std::unique_ptr<Row> make_row(Request&& request) {
    auto seed = request.options.seed.value_or(detail::fresh_seed());
    detail::Answer answer(tokenizer,
                          std::move(request.prompt),
                          std::move(request.options),
                          model->vocab_size(),
                          options.context_length);
    SampleRow sampling(answer.options(), seed, model->vocab_size());
    sampling.begin(answer.prompt());
    auto cache = std::move(request.cache);
    bool stored = earlier.there() && !cache;
    if (!cache) cache = std::make_shared<CachedPrompt>(*model, cache_options(answer.options()));
    std::unique_ptr<detail::Guessing> guessing;
    if (auto speculation =
            make_speculation(*model, answer.options().speculation, {answer.options().sample, seed}))
      guessing = std::make_unique<detail::Guessing>(std::move(speculation), ~seed);
    auto row = std::make_unique<Row>(Row{next_id,
                                         std::move(answer),
                                         std::move(sampling),
                                         std::move(cache),
                                         request.adapter,
                                         std::move(guessing)});
    row->stored = stored;
    if (stored) row->cuts = std::move(request.cuts);
    return row;
  }

  void check(const Request& request) const {
    for (auto& r : rows)
      if (request.cache && r->cache == request.cache)
        throw InputError(describe("cache", "another row uses it"));
    int adapters = model->adapter_use().count, asked = request.adapter.value_or(0);
    if (asked < 0 || asked > adapters)
      throw InputError(describe(
          "adapter", "no such adapter", "0 to " + std::to_string(adapters), std::to_string(asked)));
  }

  RowId add(Request&& request) {
    check(request);
    auto row = make_row(std::move(request));
    memory.require(*row);
    rows.push_back(std::move(row));
    idle = false;
    return next_id++;
  }

  Row* find(RowId id) {
    for (auto& r : rows)
      if (r->id == id) return r.get();
    return nullptr;
  }

  void tell(Row& row, Event event, std::optional<Failure> failure = {}) {
    row.done = event.stop || failure;
    row.failed = failure.has_value();
    events.push_back({row.id, std::move(event), std::move(failure)});
  }

  /// The rows of a pass that failed: what their caches hold can not be trusted.
  void fail(std::span<Row* const> failed, const Failure& failure) {
    for (Row* r : failed) {
      r->cache->clear(*model);
      tell(*r, {}, failure);
    }
  }

  void remove_ended() {
    std::erase_if(rows, [&](auto& r) {
      if (!r->done) return false;
      memory.end(*r);
      if (r->stored && r->begun() && !r->failed)
        earlier.take(*r->cache, adapter_of(*r), PromptKind::assistant);
      return true;
    });
  }

  void end_cancelled() {
    for (auto& r : rows)
      if (r->cancelled)
        tell(*r, r->answer.end(StopReason::cancelled));
      else if (!r->generates() && r->answer.room() <= 0)
        tell(*r, r->answer.end(r->answer.out_of_room()));
    remove_ended();
  }

  // ---- earlier prompts

  int adapter_of(const Row& row) const { return row.adapter.value_or(model->adapter_use().chosen); }

  /// Tokens to the next cut; those that are behind are passed over.
  int to_next_cut(Row& row) {
    std::size_t done = row.cache->ids.size();
    std::erase_if(row.cuts, [&](const PromptCut& c) { return c.tokens <= done; });
    return row.cuts.empty() ? std::numeric_limits<int>::max() : int(row.cuts.front().tokens - done);
  }

  void keep_at_cut(Row& row) {
    if (row.failed || row.cuts.empty()) return;
    if (row.cuts.front().tokens != row.cache->ids.size()) return;
    earlier.keep(*row.cache, adapter_of(row), row.cuts.front().kind);
    announce(row);
  }

  /// Storage reaches to the next cut, where what comes before it is shared.
  void announce(Row& row) {
    int prompt = int(row.answer.prompt().size());
    int all = std::min(row.first_tokens(), prompt + detail::kGrowth);
    bool cut = to_next_cut(row) != std::numeric_limits<int>::max();
    row.cache->caches.reserve(cut ? int(row.cuts.front().tokens) : all);
  }

  // ---- generating

  /// Rows of one pass have caches of one kind.
  static bool alike(const Row& a, const Row& b) {
    auto &x = a.cache->options, &y = b.cache->options;
    return x.rotate == y.rotate && x.max_kv_size == y.max_kv_size && x.keep == y.keep &&
           x.quant == y.quant;
  }

  /// Those that had no token for the longest time, at most max_rows.
  std::vector<Row*> rows_to_step() {
    std::vector<Row*> ready;
    for (auto& r : rows)
      if (r->generates() && !r->paused) ready.push_back(r.get());
    std::stable_sort(
        ready.begin(), ready.end(), [](Row* a, Row* b) { return a->stepped < b->stepped; });
    std::erase_if(ready, [&](Row* r) { return !memory.has_room(*r); });
    if (int(ready.size()) > options.max_rows) ready.resize(size_t(options.max_rows));
    return ready;
  }

  void generate() {
    auto ready = rows_to_step();
    while (!ready.empty()) {
      Row& first = *ready[0];
      auto others = std::stable_partition(
          ready.begin(), ready.end(), [&](Row* r) { return alike(first, *r); });
      step_rows({ready.begin(), others});
      ready.erase(ready.begin(), others);
    }
  }

  void step_rows(const std::vector<Row*>& group) {
    PassLoad load{int(group.size()), 0};
    for (Row* r : group) load.guessing += r->guessing != nullptr;
    std::vector<Row*> fed;
    std::vector<detail::Feed> feeds;
    int longest = 1;
    for (Row* r : group) {
      r->stepped = steps;
      std::span<const TokenId> tokens{&*r->last, 1};
      if (r->guessing) alone(*r, [&] { tokens = propose(*r, load); });
      if (r->done) continue;
      fed.push_back(r);
      longest = std::max(longest, int(tokens.size()));
      feeds.push_back({r->cache.get(), tokens, &r->sampling, r->adapter, r->guessing.get()});
    }
    if (fed.empty()) return;
    double seconds = pass(fed, feeds);
    times.add(longest * int(fed.size()), seconds);
  }

  std::span<const TokenId> propose(Row& row, const PassLoad& load) {
    int reserved = row.reserved_tokens - int(row.cache->ids.size()) - row.guessing->unfed() + 1;
    return row.guessing->propose(
        row.cache->caches, std::min(row.answer.room(), reserved), times, load);
  }

  /// One forward pass, and what its tokens say.  Returns the seconds that it took.
  double pass(const std::vector<Row*>& group, const std::vector<detail::Feed>& feeds) {
    idle = false;
    auto start = std::chrono::steady_clock::now();
    auto seconds = [&] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    try {
      auto tokens = detail::feed(*model, feeds);
      for (size_t i = 0; i < group.size(); ++i) {
        Row& r = *group[i];
        if (!r.generates()) r.answer.prefilled(r.cached, seconds());
        take(r, tokens[i]);
      }
    } catch (...) {
      fail(group, current_failure());
    }
    return seconds();
  }

  /// Tokens behind the one that ends the row are nobody's.
  void take(Row& row, const std::vector<Token>& tokens) {
    alone(row, [&] {
      if (tokens.empty()) return;
      bool first = !row.generates();
      if (first && !report(row)) return tell(row, row.answer.end(StopReason::cancelled));
      if (row.guessing) row.answer.speculated(row.guessing->stats());
      int left = int(tokens.size());
      for (auto& token : tokens) {
        if (row.done) break;
        --left;
        ++counts.generated_tokens;
        row.last = token.id;
        tell(row, row.answer.take(token));
      }
      if (row.guessing) row.guessing->take_back(*row.cache, left);
    });
  }

  /// What fails here is of no concern to other rows.
  template <class Work>
  void alone(Row& row, Work work) {
    try {
      work();
    } catch (...) {
      tell(row, {}, current_failure());
    }
  }

  // ---- prompts

  std::vector<Row*> waiting_rows() const {
    std::vector<Row*> all;
    for (auto& r : rows)
      if (!r->generates() && !r->done) all.push_back(r.get());
    return all;
  }

  /// Whether another row is on its way to a cut that this one's prompt begins with, too: what is
  /// before it is then found in the store instead of being computed twice.
  bool awaits_another(const Row& row) const {
    auto& prompt = row.answer.prompt();
    auto computes_it = [&](auto& r) {
      if (!r->stored || !r->begun() || r->generates() || r->done || r->cuts.empty()) return false;
      auto& theirs = r->answer.prompt();
      std::size_t n = r->cuts.front().tokens;
      return n > r->cache->ids.size() && n < std::min(prompt.size(), theirs.size()) &&
             alike(*r, row) && adapter_of(*r) == adapter_of(row) &&
             std::equal(prompt.begin(), prompt.begin() + long(n), theirs.begin());
    };
    return row.stored && !row.begun() && std::any_of(rows.begin(), rows.end(), computes_it);
  }

  /// The next prompt to go on with, with its memory.
  Row* next_prompt(const std::vector<Row*>& queue, const std::vector<Row*>& taken) {
    std::vector<Row*> candidates;
    std::vector<detail::Waiting> facts;
    for (Row* r : queue) {
      bool is_taken = std::find(taken.begin(), taken.end(), r) != taken.end();
      if (is_taken || (!taken.empty() && !alike(*taken[0], *r)) || awaits_another(*r)) continue;
      bool fits = r->begun() || memory.fits(*r);
      candidates.push_back(r);
      int passed = taken.empty() ? r->passed : 0;  // beside others no turn is lost
      facts.push_back({r->prompt_left(), r->begun(), fits, r->overtaken, passed});
    }
    auto best = detail::next_prompt(facts);
    if (!best) return nullptr;
    Row* row = candidates[*best];
    if (!row->begun()) begin(*row, queue);
    return row;
  }

  void begin(Row& row, const std::vector<Row*>& queue) {
    for (Row* other : queue)
      if (other->id < row.id && !other->begun()) ++other->overtaken;
    memory.begin(row);
    if (row.stored) earlier.find(*row.cache, adapter_of(row), row.answer.prompt());
    row.cached = row.cache->keep_shared(*model, row.answer.prompt());
    if (row.guessing && row.cached) row.guessing->consumed(row.cache->ids, {});
    announce(row);
  }

  int seats() const {
    auto taken = std::count_if(
        rows.begin(), rows.end(), [](auto& r) { return r->generates() && !r->paused; });
    return options.max_rows - int(taken);
  }

  /// One chunk: of the next prompt, and of further ones as long as they fit beside it.
  void prefill() {
    int free_seats = seats();
    if (free_seats < 1) return;
    auto queue = waiting_rows();
    std::vector<Row*> group;
    std::vector<int> sizes;
    int longest = 0;
    while (int(group.size()) < free_seats) {
      Row* row = next_prompt(queue, group);
      if (!row) break;
      int n = std::min({row->prompt_left(), chunk.value(), to_next_cut(*row)});
      longest = std::max(longest, n);
      if (!group.empty() && longest * int(group.size() + 1) > chunk.value()) break;
      alone(*row, [&] {
        if (!report(*row)) tell(*row, row->answer.end(StopReason::cancelled));
      });
      if (row->done) {
        std::erase(queue, row);
        continue;
      }
      group.push_back(row);
      sizes.push_back(n);
    }
    if (group.empty()) return;
    for (Row* r : queue) ++r->passed;
    for (Row* r : group) r->passed = 0;
    prefill_rows(group, sizes);
  }

  /// False when the one who asked does not want the answer any more.
  static bool report(const Row& row) {
    auto& progress = row.answer.options().prefill_progress;
    return !progress || progress(int(row.cache->ids.size()), int(row.answer.prompt().size()));
  }

  void prefill_rows(const std::vector<Row*>& group, const std::vector<int>& sizes) {
    std::vector<detail::Feed> feeds;
    for (size_t i = 0; i < group.size(); ++i) {
      Row& r = *group[i];
      auto left = std::span(r.answer.prompt()).subspan(r.cache->ids.size());
      bool last = size_t(sizes[i]) == left.size();
      feeds.push_back({r.cache.get(),
                       left.first(size_t(sizes[i])),
                       last ? &r.sampling : nullptr,
                       r.adapter,
                       r.guessing.get()});
      counts.prompt_tokens += std::uint64_t(sizes[i]);
    }
    double seconds = pass(group, feeds);
    for (Row* r : group) keep_at_cut(*r);
    chunk.learn(*std::max_element(sizes.begin(), sizes.end()) * int(sizes.size()), seconds);
    mx::clear_cache();
  }

  /// Memory is short, nobody can go on, and nobody is going to give some back.
  void end_starved() {
    Row* youngest = nullptr;
    for (auto& r : rows) {
      if (r->paused) return;
      if (r->begun()) youngest = r.get();
    }
    if (!youngest) return;
    tell(*youngest,
         {},
         Failure{ErrorKind::capacity,
                 describe("memory_limit",
                          "no memory for another token of this answer",
                          "at most " + detail::mebibytes(memory.limit()) + " for all caches",
                          detail::mebibytes(memory.with_room(*youngest)))});
    idle = false;
  }

  std::vector<RowEvent> step() {
    events.clear();
    idle = true;
    ++steps;
    end_cancelled();
    generate();
    remove_ended();
    prefill();
    if (idle && events.empty()) end_starved();
    remove_ended();
    if (steps % detail::kClearEvery == 0) mx::clear_cache();
    return std::exchange(events, {});
  }
};

Batch::Batch(std::shared_ptr<const LanguageModel> model,
             const text::Tokenizer& tokenizer,
             const BatchOptions& options)
    : impl_(std::make_unique<Impl>(std::move(model), tokenizer, options)) {}
Batch::Batch(Batch&&) noexcept = default;
Batch::~Batch() = default;

RowId Batch::add(Request request) { return impl_->add(std::move(request)); }

void Batch::cancel(RowId row) {
  if (Row* r = impl_->find(row)) r->cancelled = true, impl_->idle = false;
}

void Batch::pause(RowId row, bool paused) {
  Row* r = impl_->find(row);
  if (!r) return;
  r->paused = paused;
  if (!paused) impl_->idle = false;
}

std::vector<RowEvent> Batch::step() { return impl_->step(); }
bool Batch::idle() const { return impl_->idle; }

BatchStats Batch::stats() const {
  BatchStats s = impl_->counts;
  for (auto& r : impl_->rows) {
    ++(r->generates() ? s.generating : s.waiting);
    s.paused += r->generates() && r->paused;
  }
  s.cache_bytes_reserved = impl_->memory.used();
  s.cache_bytes_limit = impl_->memory.limit();
  return s;
}

}  // namespace mlxcpp::lm
