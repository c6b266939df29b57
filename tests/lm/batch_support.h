// What tests of batches share: small models, and what a row gives alone.
#pragma once

#include "mlxcpp/lm/batch.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/model.h"
#include "tests/lm/small_model.h"
#include "tests/support/golden.h"
#include "tests/support/script_model.h"

#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mlxcpp::test {

using lm::TokenId;
using Ids = std::vector<TokenId>;

/// A byte-level tokenizer with 288 tokens.
inline const text::Tokenizer& small_tokenizer() {
  static const text::Tokenizer t = [] {
    lm::ModelTypeRegistry registry;
    lm::add_models(registry);
    return lm::load(
               lm::ModelConfiguration::from_directory(MLXCPP_TEST_DATA "/lm/llama_gguf_f32.gguf"),
               registry)
        .tokenizer;
  }();
  return t;
}

/// A model that answers a prompt of three tokens with a text.
inline std::shared_ptr<ScriptModel> saying(const std::string& text, bool eos = true) {
  auto encoded = small_tokenizer().encode(text, false);
  std::vector<int> ids(encoded.begin(), encoded.end());
  ids.insert(ids.begin(), 2, 0);
  if (eos) ids.push_back(int(*small_tokenizer().eos()));
  return std::make_shared<ScriptModel>(ids, int(small_tokenizer().vocab_size()));
}

inline Ids prompt_ids(int seed, int n) {
  Ids r;
  for (int i = 0; i < n; ++i) r.push_back(TokenId((seed * 37 + i * 29 + i * i * 5) % 63 + 1));
  return r;
}

inline lm::Generated alone(std::shared_ptr<const lm::LanguageModel> model,
                           const Ids& prompt,
                           const lm::GenerateOptions& options,
                           int context = 0) {
  return lm::collect(
      lm::TokenStream(std::move(model), small_tokenizer(), prompt, options, context));
}

/// What a row gave so far.
struct Given {
  lm::Generated answer;
  std::vector<std::optional<float>> logprobs;
  std::optional<lm::StopReason> stop;
  std::optional<Failure> failure;
  bool ended() const { return stop || failure; }

  void take(const lm::Event& e, const std::optional<Failure>& f = {}) {
    ASSERT_FALSE(ended()) << "nothing comes after the last event";
    answer.text += e.text;
    if (e.token) answer.tokens.push_back(*e.token), logprobs.push_back(e.logprob);
    answer.stats = e.stats;
    stop = e.stop;
    failure = f;
  }
};

/// Collects the events of a batch's rows.
struct Taken {
  std::map<lm::RowId, Given> rows;

  void step(lm::Batch& batch) {
    for (auto& e : batch.step()) rows[e.row].take(e.event, e.failure);
  }
  void finish(lm::Batch& batch) {
    for (int i = 0; !batch.idle(); ++i) {
      ASSERT_LT(i, 100000) << "it hangs";
      step(batch);
    }
  }
};

/// Equal tokens; or, where two tokens are as good as each other (a margin of 1e-3 of the largest
/// logit), equal up to there.
inline void expect_as_alone(const lm::LanguageModel& model,
                            const Ids& prompt,
                            const Ids& got,
                            const Ids& want) {
  auto [g, w] = std::mismatch(got.begin(), got.end(), want.begin(), want.end());
  if (g == got.end()) return;  // as far as it came
  ASSERT_NE(w, want.end()) << "more tokens than alone";
  std::vector<int> seen(prompt.begin(), prompt.end());
  seen.insert(seen.end(), got.begin(), g);
  lm::Caches none;
  array y = forward(model, none, seen);
  mx::eval(y);
  const float* last = y.data<float>() + (seen.size() - 1) * size_t(y.shape(1));
  float largest = 0;
  for (int i = 0; i < y.shape(1); ++i) largest = std::max(largest, std::abs(last[i]));
  EXPECT_NEAR(last[*g], last[*w], 1e-3f * largest) << "at token " << g - got.begin();
}

}  // namespace mlxcpp::test
