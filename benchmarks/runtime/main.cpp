// What the language runtime promises, measured with the default model.
//   runtime_bench guess   answers with lookup beside the same without, token by token in turn
//   runtime_bench late    the first token of a short prompt beside the prefill of a long one
//   runtime_bench prefix  a prompt whose beginning is in the store, beside one that is new
//   runtime_bench memory  what is resident over 20 * N chats
//                 [--rows N] [--entries N] [--bytes N] of the store, [--unlimited 1] answers,
//                 [--turns N] of a conversation
//   all           [--rounds N] [--model PATH]
// Two things are compared in one process and in turn, so that a machine that becomes slower does so
// for both.
#include "mlxcpp/base/error.h"
#include "mlxcpp/builtin/models.h"
#include "mlxcpp/io/hub.h"
#include "mlxcpp/lm/engine.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/prompt_cache.h"
#include "mlxcpp/lm/step.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace mlxcpp;
using lm::TokenId;
using Clock = std::chrono::steady_clock;
using Ids = std::vector<TokenId>;
using Seconds = std::vector<double>;

int rounds = 10;
std::string model_path = io::default_model_path().string();

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(Seconds all) {
  auto middle = all.begin() + std::ptrdiff_t(all.size() / 2);
  std::nth_element(all.begin(), middle, all.end());
  return *middle;
}

void print(const char* what, const Seconds& all) {
  std::printf("%s: median %.4f s, least %.4f, most %.4f, of %d\n",
              what,
              median(all),
              *std::min_element(all.begin(), all.end()),
              *std::max_element(all.begin(), all.end()),
              int(all.size()));
  std::fflush(stdout);
}

lm::ModelContext load() {
  auto context =
      lm::ModelContext::load(lm::ModelConfiguration::from_directory(model_path), builtin_models());
  context.materialize();
  return context;
}

/// Ids that no earlier call gave in this order.
Ids random_ids(int n, int vocab) {
  static std::mt19937 random(1);
  Ids ids(std::size_t(n), 0);
  for (auto& id : ids) id = TokenId(random() % unsigned(vocab));
  return ids;
}

Ids question(const lm::ModelContext& context, const std::string& text) {
  return context.apply_chat_template_ids(R"([{"role": "user", "content": ")" + text + R"("}])",
                                         {.add_generation_prompt = true});
}

// ---- guess

class Answer {
 public:
  Answer(const lm::ModelContext& context, const Ids& prompt, lm::GenerateOptions o, bool guesses) {
    if (guesses) o.speculation.kind = lm::DraftKind::lookup;
    auto cache = std::make_shared<lm::CachedPrompt>(context.model(), lm::cache_options(o));
    stepper_ = std::make_unique<lm::Stepper>(context.shared_model(), cache, o, *o.seed);
    stepper_->prefill(prompt);
    stepper_->next();
  }
  void skip(int tokens) {
    while (tokens-- > 0) stepper_->next();
  }
  void step() {
    auto start = Clock::now();
    stepper_->next();
    seconds_ += since(start);
  }
  double seconds() const { return seconds_; }
  int passes() const { return stepper_->speculation().passes; }

 private:
  std::unique_ptr<lm::Stepper> stepper_;
  double seconds_ = 0;  // of the tokens of step()
};

/// `before`: tokens of the answer that are not counted.
void guess(
    const lm::ModelContext& context, const char* name, const char* text, float heat, int before) {
  constexpr int kTokens = 256;
  Ids prompt = question(context, text);
  Seconds gains;
  int passes = 0;
  for (int round = 0; round < rounds; ++round) {
    lm::GenerateOptions o;
    o.sample.temperature = heat;
    o.seed = std::uint64_t(round);
    Answer plain(context, prompt, o, false), guessed(context, prompt, o, true);
    for (Answer* answer : {&plain, &guessed}) answer->skip(before);
    for (int i = 0; i < kTokens; ++i) {
      (i % 2 ? plain : guessed).step();
      (i % 2 ? guessed : plain).step();
    }
    gains.push_back(plain.seconds() / guessed.seconds());
    passes += guessed.passes();
  }
  std::printf(
      "%s: with lookup %.3f times as fast (median; least %.3f, most %.3f of %d answers), "
      "%d guesses in %d tokens\n",
      name,
      median(gains),
      *std::min_element(gains.begin(), gains.end()),
      *std::max_element(gains.begin(), gains.end()),
      rounds,
      passes,
      rounds * kTokens);
  std::fflush(stdout);
}

int run_guess() {
  auto context = load();
  guess(context, "random text", "Tell me a long story about whatever comes to mind.", 1.2f, 0);
  guess(context, "circles", "Tell me about the sea.", 0, 256);
  return 0;
}

// ---- with the engine

struct Asked {
  lm::Reply reply;
  Clock::time_point start;
  /// Seconds to the first token; throws what went wrong.
  double first() {
    lm::RowEvent e;
    reply.next(&e);
    if (e.failure) rethrow(*e.failure);
    return since(start);
  }
};

Asked ask(lm::Engine& engine, Ids prompt, lm::PrefillProgress progress = {}) {
  lm::Request r{.prompt = std::move(prompt)};
  r.options.max_tokens = 2;
  r.options.ignore_eos = true;
  r.options.prefill_progress = std::move(progress);
  auto start = Clock::now();
  return {engine.submit(std::move(r)), start};
}

/// When the engine began each chunk of a prompt, and how far it was.
struct Course {
  std::mutex mutex;
  int done = 0;
  Seconds chunks;
  Clock::time_point last = Clock::now();

  bool take(int n) {
    std::lock_guard lock(mutex);
    if (done > 0) chunks.push_back(since(last));
    last = Clock::now();
    done = n;
    return true;
  }
  int reached() {
    std::lock_guard lock(mutex);
    return done;
  }
};

int run_late() {
  lm::Engine engine(load);
  int vocab = engine.context().model().vocab_size();
  Ids little = question(engine.context(), "What is the capital of France?");
  Seconds quiet, late, beyond;
  for (int i = 0; i <= rounds; ++i) {
    double t = ask(engine, little).first();
    if (i > 0) quiet.push_back(t);  // the first one makes pages
  }
  print("a short prompt alone", quiet);
  Course alone;
  ask(engine, random_ids(4000, vocab), [&](int n, int) { return alone.take(n); }).first();
  print("a chunk of the long prompt", alone.chunks);
  double bound = 2 * median(quiet) + median(alone.chunks);
  for (int i = 0; i < rounds; ++i) {
    Course course;
    Asked big = ask(engine, random_ids(4000, vocab), [&](int n, int) { return course.take(n); });
    while (course.reached() < 500 + 250 * (i % 10))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(23 * i % 200));  // anywhere in a chunk
    late.push_back(ask(engine, little).first());
    big.reply.cancel();
    lm::RowEvent e;
    while (big.reply.next(&e) == lm::Pull::event) {
    }
  }
  print("a short prompt beside a long one", late);
  std::printf("bound (twice alone and a chunk): %.4f s, passed by %d\n",
              bound,
              int(std::count_if(late.begin(), late.end(), [&](double t) { return t > bound; })));
  return 0;
}

int run_prefix() {
  lm::EngineOptions o;
  o.batch.prompts = std::make_shared<lm::PromptCache>();
  lm::Engine engine(load, o);
  int vocab = engine.context().model().vocab_size();
  Seconds miss, hit;
  for (int i = 0; i < rounds; ++i) {
    Ids first = random_ids(1000, vocab), second = first;
    for (Ids* ids : {&first, &second})
      for (auto id : random_ids(20, vocab)) ids->push_back(id);
    miss.push_back(ask(engine, first).first());
    hit.push_back(ask(engine, second).first());
  }
  print("1,020 new tokens", miss);
  print("1,000 of them in the store", hit);
  std::printf("ratio of medians %.1f\n", median(miss) / median(hit));
  return 0;
}

// ---- memory

double mebibytes(double bytes) { return bytes / (1 << 20); }

/// Of this process, without the files that it has mapped.
double resident() {
  double kib = 0;
  char line[256];
  if (std::FILE* f = std::fopen("/proc/self/status", "r")) {
    while (std::fgets(line, sizeof line, f))
      if (std::strncmp(line, "RssAnon:", 8) == 0) kib = std::atof(line + 8);
    std::fclose(f);
  }
  return kib * 1024;
}

struct Memory {
  int rows = 1, unlimited = 0, turns = 0;
  lm::PromptCacheOptions store;
};

/// One size of chats after the other, in turn, so that the store holds the same number of tokens
/// from the first round of all sizes on.
class Chats {
 public:
  Chats(lm::Engine& engine, const Memory& o)
      : engine_(engine), o_(o), system_(random_ids(50, vocab())), said_(system_) {}

  void begin() {
    int size = begun_++ % 10;
    lm::Request r{.prompt = o_.turns ? said_ : system_};
    for (auto id : random_ids(20 + 20 * size, vocab())) r.prompt.push_back(id);
    r.cuts = {{system_.size(), lm::PromptKind::system}};
    r.options.ignore_eos = true;
    int length = 16 + 8 * size;
    if (!o_.unlimited) r.options.max_tokens = length;
    said_ = r.prompt;
    open_.push_back({engine_.submit(std::move(r)), length});
  }
  /// Waits for the end of one.
  void finish() {
    for (std::size_t i = 0;; i = (i + 1) % open_.size()) {
      lm::RowEvent e;
      auto& chat = open_[i];
      if (chat.reply.next(&e, std::chrono::milliseconds(1)) != lm::Pull::event) continue;
      if (e.failure) rethrow(*e.failure);
      if (e.event.token) {
        said_.push_back(*e.event.token);
        if (--chat.left == 0 && o_.unlimited) chat.reply.cancel();
      }
      if (!e.event.stop) continue;
      if (o_.turns && begun_ % o_.turns == 0) said_ = system_;
      open_.erase(open_.begin() + std::ptrdiff_t(i));
      return;
    }
  }
  int open() const { return int(open_.size()); }
  int begun() const { return begun_; }

 private:
  struct Chat {
    lm::Reply reply;
    int left;
  };
  int vocab() const { return engine_.context().model().vocab_size(); }

  lm::Engine& engine_;
  Memory o_;
  Ids system_, said_;
  std::vector<Chat> open_;
  int begun_ = 0;
};

int run_memory(const Memory& options) {
  lm::EngineOptions o;
  o.batch.max_rows = options.rows;
  if (options.store.max_entries) o.batch.prompts = std::make_shared<lm::PromptCache>(options.store);
  lm::Engine engine(load, o);
  Chats chats(engine, options);
  Seconds early, late;
  const int answers = 20 * rounds;
  for (int done = 1; done <= answers; ++done) {
    while (chats.open() < options.rows && chats.begun() < answers) chats.begin();
    chats.finish();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    double now = mebibytes(resident());
    if (done > 10 && done <= 20) early.push_back(now);
    if (done > answers - 10) late.push_back(now);
    if (done % 20) continue;
    std::printf("after %d answers: resident %.1f MiB, MLX's arrays %.1f",
                done,
                now,
                mebibytes(double(engine.stats().mlx_bytes)));
    if (auto& store = o.batch.prompts)
      std::printf(", of them the store's %.1f", mebibytes(double(store->nbytes())));
    std::printf("\n");
    std::fflush(stdout);
  }
  std::printf(
      "resident, medians of 10 answers: to the 20th %.1f MiB, to the %dth %.1f, %.3f times\n",
      median(early),
      answers,
      median(late),
      median(late) / median(early));
  return 0;
}

int run(int argc, char** argv) {
  std::string what = argc > 1 ? argv[1] : "";
  Memory memory;
  for (int i = 2; i + 1 < argc; i += 2) {
    std::string flag = argv[i];
    if (flag == "--rounds")
      rounds = std::max(1, std::atoi(argv[i + 1]));
    else if (flag == "--rows")
      memory.rows = std::max(1, std::atoi(argv[i + 1]));
    else if (flag == "--unlimited")
      memory.unlimited = std::atoi(argv[i + 1]);
    else if (flag == "--turns")
      memory.turns = std::atoi(argv[i + 1]);
    else if (flag == "--entries")
      memory.store.max_entries = std::size_t(std::atoi(argv[i + 1]));
    else if (flag == "--bytes")
      memory.store.max_bytes = std::strtoull(argv[i + 1], nullptr, 10);
    else if (flag == "--model")
      model_path = argv[i + 1];
    else
      return std::fprintf(stderr, "runtime_bench: what is %s?\n", argv[i]), 2;
  }
  if (what == "guess") return run_guess();
  if (what == "late") return run_late();
  if (what == "prefix") return run_prefix();
  if (what == "memory") return run_memory(memory);
  return std::fprintf(stderr,
                      "runtime_bench guess|late|prefix|memory [--rounds N] [--model PATH]\n"),
         2;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const mlxcpp::Error& e) {
    std::fprintf(stderr, "runtime_bench: %s\n", e.what());
    return 1;
  }
}
