// Requests from many threads to one model; interesting under the thread sanitizer, too.
#include "mlxcpp/lm/engine.h"

#include "tests/lm/batch_support.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

namespace mlxcpp::lm {
namespace {

using namespace std::chrono_literals;
using test::Given;
using test::Ids;
using test::prompt_ids;
using test::saying;
using test::small_tokenizer;

const Ids kPrompt = {5, 6, 7};

Engine::Load giving(std::shared_ptr<const LanguageModel> model) {
  return [model] { return ModelContext(model, small_tokenizer(), BaseConfig{}); };
}

Given read(Reply& reply) {
  Given given;
  RowEvent e;
  while (reply.next(&e) == Pull::event) given.take(e.event, e.failure);
  EXPECT_TRUE(given.ended());
  return given;
}

/// Reads without waiting in vain: what is there comes sooner or later.
template <class Condition>
void wait_until(Condition condition) {
  auto end = std::chrono::steady_clock::now() + 60s;
  while (!condition()) {
    ASSERT_LT(std::chrono::steady_clock::now(), end) << "it hangs";
    std::this_thread::yield();
  }
}

TEST(Engine, answers_several_threads_at_once) {
  Engine engine(giving(saying("hello there")));
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 5; ++n) {
        Reply reply = engine.submit({kPrompt, {}});
        right += read(reply).answer.text == "hello there";
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(right, 30);
  EXPECT_EQ(engine.stats().requests, 0);
}

TEST(Engine, gives_events_with_and_without_waiting) {
  Engine engine(giving(saying("ab")));
  Reply reply = engine.submit({kPrompt, {}});
  RowEvent e;
  std::string text;
  wait_until([&] {
    Pull p = reply.next(&e, 0ms);
    if (p == Pull::event) text += e.event.text;
    return p == Pull::ended;
  });
  EXPECT_EQ(text, "ab");
  EXPECT_EQ(e.event.stop, StopReason::eos);
  EXPECT_EQ(reply.next(&e), Pull::ended);
  EXPECT_EQ(reply.next(&e, 1ms), Pull::ended);
}

TEST(Engine, a_reply_is_cancelled_from_another_thread_or_by_dropping_it) {
  Engine engine(giving(saying("a", false)));
  Reply reply = engine.submit({kPrompt, {}});
  { Reply dropped = engine.submit({kPrompt, {}}); }
  RowEvent e;
  ASSERT_EQ(reply.next(&e), Pull::event);
  std::thread other([&] { reply.cancel(); });
  other.join();
  while (!e.event.stop) ASSERT_EQ(reply.next(&e), Pull::event);
  EXPECT_EQ(e.event.stop, StopReason::cancelled);
  wait_until([&] { return engine.stats().requests == 0; });
}

TEST(Engine, a_slow_reader_stops_nobody_and_keeps_few_events) {
  std::string text(200, 'a');
  Engine engine(giving(saying(text)), {.batch = {.max_rows = 1}, .max_events = 4});
  Reply slow = engine.submit({kPrompt, {}});
  wait_until([&] { return engine.stats().batch.paused == 1; });
  Reply quick = engine.submit({kPrompt, {}});
  EXPECT_EQ(read(quick).answer.text, text);
  EXPECT_EQ(engine.stats().batch.paused, 1);
  RowEvent e;
  int waiting = 0;
  std::string begun;
  while (waiting < 4 && slow.next(&e, 0ms) == Pull::event) begun += e.event.text, ++waiting;
  EXPECT_EQ(waiting, 4);
  EXPECT_EQ(begun + read(slow).answer.text, text);
}

TEST(Engine, refuses_more_requests_than_it_may_have) {
  Engine engine(giving(saying("a", false)), {.max_requests = 2});
  Reply a = engine.submit({kPrompt, {}}), b = engine.submit({kPrompt, {}});
  EXPECT_THROW(engine.submit({kPrompt, {}}), CapacityError);
  a.cancel();
  wait_until([&] { return engine.stats().requests == 1; });
  Reply c = engine.submit({kPrompt, {.max_tokens = 1}});
  EXPECT_EQ(read(c).stop, StopReason::length);
}

TEST(Engine, stops_at_once_or_when_all_has_ended) {
  for (bool grace : {false, true}) {
    Engine engine(giving(saying("abc", grace)), {.max_events = 100});
    Reply reply = engine.submit({kPrompt, {}});
    engine.stop(grace ? 60000ms : 0ms);
    EXPECT_EQ(read(reply).stop, grace ? StopReason::eos : StopReason::cancelled);
    EXPECT_THROW(engine.submit({kPrompt, {}}), CapacityError);
  }
}

TEST(Engine, does_not_wait_longer_than_it_was_told_for_a_reader_who_is_gone) {
  Engine engine(giving(saying("a", false)), {.max_events = 2});
  Reply reply = engine.submit({kPrompt, {}});
  engine.stop(20ms);
  EXPECT_EQ(read(reply).stop, StopReason::cancelled);
}

TEST(Engine, replies_outlive_it) {
  std::optional<Reply> reply;
  {
    Engine engine(giving(saying("abc", false)));
    reply.emplace(engine.submit({kPrompt, {}}));
  }
  EXPECT_EQ(read(*reply).stop, StopReason::cancelled);
}

TEST(Engine, throws_what_loading_throws) {
  EXPECT_THROW(Engine([]() -> ModelContext { throw IoError("no model"); }), IoError);
  EXPECT_THROW(Engine(giving(saying("a")), {.max_events = 0}), InputError);
  EXPECT_THROW(Engine(giving(saying("a")), {.batch = {.max_rows = 0}}), InputError);
}

TEST(Engine, a_bad_request_ends_with_its_error_and_a_failed_pass_with_its_own) {
  auto model = saying("abcdef");
  model->fail_at_pass = 2;
  Engine engine(giving(model));
  Reply bad = engine.submit({{}, {}});
  Given given = read(bad);
  EXPECT_EQ(given.failure->kind, ErrorKind::input);
  EXPECT_EQ(given.failure->message.substr(0, 13), "prompt: empty");
  Reply fails = engine.submit({kPrompt, {}});
  EXPECT_EQ(read(fails).failure->message, "planted");
  Reply good = engine.submit({kPrompt, {}});
  EXPECT_EQ(read(good).answer.text, "abcdef");
}

TEST(Engine, takes_the_context_length_of_the_model) {
  BaseConfig config;
  config.max_position_embeddings = 5;
  auto model = saying("abcdefgh");
  Engine engine([&] { return ModelContext(model, small_tokenizer(), config); });
  Reply reply = engine.submit({kPrompt, {}});
  Given given = read(reply);
  EXPECT_EQ(given.stop, StopReason::context);
  EXPECT_EQ(given.answer.tokens.size(), 2u);
}

TEST(Engine, errors_as_values_are_thrown_as_they_were) {
  auto thrown = [](ErrorKind kind) -> ErrorKind {
    try {
      rethrow({kind, "x"});
    } catch (const InputError& e) {
      return kind == ErrorKind::input ? e.kind() : ErrorKind::internal;
    } catch (const Error& e) {
      return e.kind();
    }
  };
  for (auto kind : {ErrorKind::input, ErrorKind::capacity, ErrorKind::io, ErrorKind::internal})
    EXPECT_EQ(thrown(kind), kind);
}

// ---- fifty prompts of mixed length, by several threads, with random cancels

class Fifty : public testing::TestWithParam<const char*> {
 protected:
  static std::shared_ptr<const LanguageModel> make() {
    std::string name = GetParam();
    if (name != "script") return test::small_model(name);
    return std::make_shared<test::ScriptModel>(std::vector<int>{4, 9, 2, 7, 7, 1, 3}, 288);
  }
};

TEST_P(Fifty, prompts_with_random_cancels_are_neither_lost_nor_hung) {
  constexpr int kThreads = 5, kEach = 10;
  auto reference = make();
  std::vector<std::pair<Request, Generated>> all;
  for (int i = 0; i < kThreads * kEach; ++i) {
    Request r{prompt_ids(i, 1 + (i * 37) % 120), {}};
    r.options.max_tokens = 1 + i % 17;
    r.options.ignore_eos = true;
    if (i % 4 == 1) {
      r.options.sample.temperature = 0.8f;
      r.options.seed = std::uint64_t(i);
    }
    if (i % 6 == 2) r.options.penalties.repetition_penalty = 1.2f;
    auto want = test::alone(reference, r.prompt, r.options);
    all.emplace_back(std::move(r), std::move(want));
  }

  EngineOptions o{.batch = {.max_rows = 7}, .max_events = 3};
  o.batch.step.prefill_step_size = 32;
  Engine engine([] { return ModelContext(make(), small_tokenizer(), BaseConfig{}); }, o);
  std::vector<Given> given(all.size());
  auto work = [&](int thread) {
    std::mt19937 random(unsigned(thread) + 1);
    std::vector<std::pair<size_t, Reply>> open;
    for (size_t i = size_t(thread); i < all.size(); i += kThreads)
      open.emplace_back(i, engine.submit(all[i].first));
    while (!open.empty()) {
      auto& [i, reply] = open[random() % open.size()];
      if (random() % 40 == 0) reply.cancel();
      RowEvent e;
      Pull p = reply.next(&e, 1ms);
      if (p == Pull::event) given[i].take(e.event, e.failure);
      if (p == Pull::ended) std::erase_if(open, [i = i](auto& x) { return x.first == i; });
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (auto& t : threads) t.join();

  for (size_t i = 0; i < all.size(); ++i) {
    SCOPED_TRACE(i);
    ASSERT_TRUE(given[i].stop);
    auto& got = given[i].answer.tokens;
    auto& want = all[i].second.tokens;
    if (given[i].stop != StopReason::cancelled) EXPECT_EQ(got.size(), want.size());
    if (all[i].first.options.penalties.repetition_penalty ||
        all[i].first.options.sample.temperature > 0) {
      EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin()));
    } else {
      test::expect_as_alone(*reference, all[i].first.prompt, got, want);
    }
  }
  engine.stop();
  EXPECT_EQ(engine.stats().requests, 0);
}

INSTANTIATE_TEST_SUITE_P(Models, Fifty, testing::Values("script", "llama_plain"), [](auto& param) {
  return std::string(param.param);
});

}  // namespace
}  // namespace mlxcpp::lm
