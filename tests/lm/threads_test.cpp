// What may be done from several threads; interesting under the thread sanitizer.
#include "mlxcpp/base/log.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/text/tokenizer.h"
#include "tests/support/script_model.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace mlxcpp::lm {
namespace {

text::Tokenizer small_tokenizer() {
  ModelTypeRegistry registry;
  add_models(registry);
  return load(ModelConfiguration::from_directory(MLXCPP_TEST_DATA "/lm/llama_gguf_f32.gguf"),
              registry)
      .tokenizer;
}

TEST(Threads, a_stream_is_cancelled_from_another_one) {
  auto tokenizer = small_tokenizer();
  int vocab = int(tokenizer.vocab_size());
  TokenStream stream(std::make_shared<test::ScriptModel>(std::vector<int>{9}, vocab),
                     tokenizer,
                     {1, 2, 3},
                     {.ignore_eos = true});
  std::atomic<bool> begun = false;
  std::thread other([&] {
    while (!begun) std::this_thread::yield();
    stream.cancel();
  });
  std::optional<Event> last;
  while (auto event = stream.next()) {
    last = event;
    begun = true;
  }
  other.join();
  EXPECT_EQ(last->stop, StopReason::cancelled);
}

TEST(Threads, one_tokenizer_serves_several) {
  const auto tokenizer = small_tokenizer();
  const auto want = tokenizer.encode("hello there, threads");
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, copy = tokenizer] {
      for (int n = 0; n < 50; ++n) {
        wrong += copy.encode("hello there, threads") != want;
        wrong += tokenizer.decode(want) != copy.decode(want);
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Threads, the_log_sink_is_replaced_while_others_log) {
  std::atomic<int> seen = 0;
  std::atomic<bool> done = false;
  std::thread writer([&] {
    while (!done) log(LogLevel::info, "x");
  });
  while (seen < 100) set_log_sink([&seen](LogLevel, std::string_view) { ++seen; });
  done = true;
  writer.join();
  set_log_sink({});
  EXPECT_GE(seen, 100);
}

}  // namespace
}  // namespace mlxcpp::lm
