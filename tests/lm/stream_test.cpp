#include "mlxcpp/lm/stream.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/utf8.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/step.h"
#include "tests/support/script_model.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mlxcpp::lm {
namespace {

/// A byte-level tokenizer with eos, and a model that answers with a given text.
class Stream : public testing::Test {
 protected:
  static const text::Tokenizer& tokenizer() {
    static const text::Tokenizer t = [] {
      ModelTypeRegistry registry;
      add_models(registry);
      return load(ModelConfiguration::from_directory(MLXCPP_TEST_DATA "/lm/llama_gguf_f32.gguf"),
                  registry)
          .tokenizer;
    }();
    return t;
  }
  static std::vector<int> ids_of(const std::string& text) {
    auto ids = tokenizer().encode(text, false);
    return {ids.begin(), ids.end()};
  }
  static std::shared_ptr<test::ScriptModel> saying(const std::string& text, bool eos = true) {
    auto ids = ids_of(text);
    ids.insert(ids.begin(), 2, 0);  // what would follow the first tokens of a prompt of three
    if (eos) ids.push_back(int(*tokenizer().eos()));
    return std::make_shared<test::ScriptModel>(ids, int(tokenizer().vocab_size()));
  }
  static TokenStream stream(std::shared_ptr<const LanguageModel> model,
                            const GenerateOptions& o = {},
                            int context = 0,
                            std::shared_ptr<CachedPrompt> cache = {}) {
    return {std::move(model), tokenizer(), {5, 6, 7}, o, context, std::move(cache)};
  }
};

TEST_F(Stream, gives_the_text_in_pieces_and_ends_with_eos) {
  auto s = stream(saying("hello there"));
  std::string text;
  std::optional<Event> last;
  int events = 0;
  while (auto e = s.next()) {
    if (last) EXPECT_FALSE(last->stop);
    text += e->text;
    last = e;
    ++events;
  }
  EXPECT_EQ(text, "hello there");
  EXPECT_EQ(last->stop, StopReason::eos);
  EXPECT_EQ(last->token, tokenizer().eos());
  EXPECT_EQ(events, int(ids_of("hello there").size()) + 1);
  EXPECT_EQ(last->stats.generation_tokens, events);
  EXPECT_EQ(last->stats.prompt_tokens, 3);
  EXPECT_FALSE(s.next());
}

TEST_F(Stream, never_gives_half_a_character) {
  std::string text = "\U0001F600 naïve \u00e9\u0301 日本語 \U0001F469\u200D\U0001F469";
  auto s = stream(saying(text));
  std::string all;
  while (auto e = s.next()) {
    EXPECT_TRUE(io::is_utf8(e->text));
    all += e->text;
  }
  EXPECT_EQ(all, text);
}

TEST_F(Stream, an_unfinished_character_at_the_end_becomes_a_replacement) {
  GenerateOptions o;
  o.max_tokens = 2;  // of the emoji's four bytes
  ASSERT_EQ(ids_of("\U0001F600").size(), 4u);
  auto g = collect(stream(saying("\U0001F600"), o));
  EXPECT_EQ(g.text, "\uFFFD");
  EXPECT_EQ(g.stop, StopReason::length);
}

TEST_F(Stream, ends_before_a_stop_string_that_comes_in_pieces) {
  GenerateOptions o;
  o.stop = {"STOP", "never"};
  auto s = stream(saying("one STONE two STOP three"), o);
  std::string text;
  std::optional<Event> last;
  while (auto e = s.next()) {
    text += e->text;
    EXPECT_EQ(text.find("STOP"), std::string::npos);
    last = e;
  }
  EXPECT_EQ(text, "one STONE two ");
  EXPECT_EQ(last->stop, StopReason::stop);
  EXPECT_EQ(last->stop_string, "STOP");
}

TEST_F(Stream, gives_out_what_was_held_back_when_no_stop_string_came) {
  GenerateOptions o;
  o.stop = {"STOP"};
  EXPECT_EQ(collect(stream(saying("not a STO"), o)).text, "not a STO");
}

TEST_F(Stream, ends_at_max_tokens) {
  GenerateOptions o;
  o.max_tokens = 3;
  auto g = collect(stream(saying("abcdefgh"), o));
  EXPECT_EQ(g.tokens.size(), 3u);
  EXPECT_EQ(g.stop, StopReason::length);
  EXPECT_EQ(finish_reason(g.stop), "length");
}

TEST_F(Stream, max_tokens_zero_computes_nothing) {
  GenerateOptions o;
  o.max_tokens = 0;
  auto model = saying("abc");
  auto g = collect(stream(model, o));
  EXPECT_EQ(g.stop, StopReason::length);
  EXPECT_EQ(g.text, "");
  EXPECT_EQ(model->passes, 0);
}

TEST_F(Stream, ends_when_the_context_is_full) {
  auto g = collect(stream(saying("abcdefghijkl"), {}, 7));
  EXPECT_EQ(g.tokens.size(), 4u);  // 3 of the prompt and 4
  EXPECT_EQ(g.stop, StopReason::context);
  EXPECT_EQ(collect(stream(saying("abc"), {}, 3)).stop, StopReason::context);
}

TEST_F(Stream, ignore_eos_goes_on) {
  GenerateOptions o;
  o.ignore_eos = true;
  o.max_tokens = 5;
  auto g = collect(stream(saying("a"), o));
  EXPECT_EQ(g.tokens.size(), 5u);
  EXPECT_EQ(g.stop, StopReason::length);
}

TEST_F(Stream, refuses_a_prompt_that_is_empty_too_long_or_beyond_the_vocabulary) {
  auto model = saying("a");
  EXPECT_THROW(TokenStream(model, tokenizer(), {}, {}), InputError);
  EXPECT_THROW(stream(model, {}, 2), InputError);
  EXPECT_THROW(TokenStream(model, tokenizer(), {TokenId(model->vocab_size())}, {}), InputError);
  EXPECT_EQ(model->passes, 0);
}

TEST_F(Stream, refuses_options_out_of_range_by_name) {
  auto message_of = [&](auto change) -> std::string {
    GenerateOptions o;
    change(o);
    try {
      stream(saying("a"), o);
    } catch (const InputError& e) {
      return std::string(e.what()).substr(0, std::string(e.what()).find(':'));
    }
    return "accepted";
  };
  EXPECT_EQ(message_of([](auto& o) { o.sample.temperature = NAN; }), "temperature");
  EXPECT_EQ(message_of([](auto& o) { o.sample.top_p = 1.5f; }), "top_p");
  EXPECT_EQ(message_of([](auto& o) { o.max_tokens = -1; }), "max_tokens");
  EXPECT_EQ(message_of([](auto& o) { o.max_kv_size = 4; }), "max_kv_size");
  EXPECT_EQ(message_of([](auto& o) { o.step.prefill_step_size = 0; }), "prefill_step_size");
  EXPECT_EQ(message_of([](auto& o) {
              o.penalties.logit_bias = {{1 << 20, 1.f}};
            }).substr(0, 10),
            "logit_bias");
}

TEST_F(Stream, cancel_ends_it_at_the_next_step) {
  auto s = stream(saying("abcdefgh"));
  s.next();
  s.cancel();
  auto e = s.next();
  EXPECT_EQ(e->stop, StopReason::cancelled);
  EXPECT_FALSE(e->token);
  EXPECT_FALSE(s.next());
}

TEST_F(Stream, prefill_progress_can_cancel) {
  GenerateOptions o;
  o.prefill_progress = [](int, int) { return false; };
  auto model = saying("abc");
  EXPECT_EQ(collect(stream(model, o)).stop, StopReason::cancelled);
  EXPECT_EQ(model->passes, 0);
}

TEST_F(Stream, a_dropped_stream_leaves_a_cache_that_the_next_one_uses) {
  auto model = saying("abcdefgh");
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  {
    auto s = stream(model, {}, 0, cache);
    s.next();
    s.next();
  }
  auto first = TokenId(ids_of("abcdefgh")[0]);
  EXPECT_EQ(cache->ids, (std::vector<TokenId>{5, 6, 7, first}));
  EXPECT_EQ(cache->caches.consumed()[0], 4);
  auto g = collect(stream(model, {}, 0, cache));
  EXPECT_EQ(g.text, "abcdefgh");
  EXPECT_EQ(g.stats.cached_tokens, 2);  // the prompt's last token must be fed
}

TEST_F(Stream, a_cache_of_another_prompt_is_cut_to_what_is_shared) {
  auto model = saying("abcdefgh");
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  collect(TokenStream(model, tokenizer(), {5, 9, 9, 9, 9}, {.max_tokens = 2}, 0, cache));
  auto g = collect(stream(model, {}, 0, cache));
  EXPECT_EQ(g.stats.cached_tokens, 1);
  EXPECT_EQ(g.text, "abcdefgh");
}

TEST_F(Stream, an_error_comes_once_and_ends_it) {
  auto model = saying("abc");
  auto s = stream(model);
  s.next();
  model->fail_at_pass = model->passes;
  EXPECT_THROW(s.next(), std::runtime_error);
  EXPECT_FALSE(s.next());
}

TEST_F(Stream, keeps_the_model_alive) {
  auto s = stream(saying("still here"));
  EXPECT_EQ(collect(std::move(s)).text, "still here");
}

TEST_F(Stream, gives_log_probabilities_when_asked) {
  GenerateOptions o;
  o.logprobs = true;
  auto e = stream(saying("ab"), o).next();
  EXPECT_NEAR(e->logprob.value(), 0, 1e-3);  // the script leaves no doubt
  EXPECT_FALSE(stream(saying("ab")).next()->logprob);
}

}  // namespace
}  // namespace mlxcpp::lm
