// Heads for further tokens against transformers, and guesses made with them.
#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/draft_mtp.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/step.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

namespace mlxcpp::lm {
namespace {

using test::Golden;

std::shared_ptr<const LanguageModel> load_from(const std::filesystem::path& golden,
                                               const LoadOptions& options) {
  test::TempDir dir;
  test::write_model(dir.path(), golden);
  ModelTypeRegistry registry;
  add_models(registry);
  return load(ModelConfiguration::from_directory(dir.path()), registry, options).model;
}

std::filesystem::path file_of(const std::string& name) {
  return std::filesystem::path(MLXCPP_TEST_DATA) / "mtp" / (name + ".safetensors");
}

array row(const std::vector<int>& ids) {
  return array(ids.data(), {1, int(ids.size())}, mx::int32);
}

array as_rows(const array& x) { return mx::squeeze(mx::astype(x, mx::float32), 0); }

class Mtp : public testing::TestWithParam<std::string> {
 protected:
  Golden golden = Golden::read(file_of(GetParam()));
  std::shared_ptr<const LanguageModel> model = load_from(file_of(GetParam()), {.mtp = true});
  float tolerance = 1e-4f;
};

TEST_P(Mtp, gives_the_reference_logits) {
  auto caches = model->make_caches(), own = model->mtp()->make_caches();
  array states = model->hidden({.tokens = row(golden.ids("ids"))}, caches);
  EXPECT_LT(test::relative_difference(as_rows(states), golden.at("states")), tolerance);
  array h =
      model->mtp()->hidden({.tokens = row(golden.ids("following")), .embeddings = states}, own);
  EXPECT_LT(test::relative_difference(as_rows(model->mtp()->logits(h)), golden.at("head_logits")),
            tolerance);
}

TEST_P(Mtp, guesses_what_the_reference_guesses) {
  auto ids = golden.ids("ids");
  auto following = golden.ids("following"), chain = golden.ids("chain");
  for (int chunk : {24, 7, 1}) {  // the prompt in pieces
    auto caches = model->make_caches();
    MtpDraft draft(model->mtp(), {});
    for (int i = 0; i < 24; i += chunk) {
      std::vector<int> piece(ids.begin() + i, ids.begin() + std::min(24, i + chunk));
      array states = model->hidden({.tokens = row(piece)}, caches);
      draft.consumed(std::vector<TokenId>(piece.begin(), piece.end()), states);
    }
    auto guess = draft.propose(TokenId(following.back()), 4);
    EXPECT_EQ(guess.ids, std::vector<TokenId>(chain.begin(), chain.end())) << chunk;
    EXPECT_TRUE(guess.probs.empty());
  }
}

TEST_P(Mtp, a_refused_guess_leaves_no_trace_in_the_head) {
  auto ids = golden.ids("ids");
  auto make = [&](bool guess_before) {
    auto caches = model->make_caches();
    MtpDraft draft(model->mtp(), {});
    auto feed = [&](int from, int to) {
      std::vector<int> piece(ids.begin() + from, ids.begin() + to);
      draft.consumed(std::vector<TokenId>(piece.begin(), piece.end()),
                     model->hidden({.tokens = row(piece)}, caches));
    };
    feed(0, 12);
    if (guess_before) draft.propose(TokenId(ids[12]), 5);
    feed(12, 15);
    if (guess_before) draft.propose(TokenId(ids[15]), 3);
    feed(15, 24);
    return draft.propose(TokenId(golden.ids("following").back()), 4).ids;
  };
  EXPECT_EQ(make(true), make(false));
}

std::vector<TokenId> answer(const std::shared_ptr<const LanguageModel>& model,
                            const GenerateOptions& o,
                            SpeculationStats* stats = nullptr) {
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  Stepper stepper(model, cache, o, 3);
  std::vector<TokenId> tokens, prompt = {5, 9, 2, 7, 5, 9, 2, 7, 1, 3, 4};
  stepper.prefill(prompt);
  for (int i = 0; i < 50; ++i) tokens.push_back(stepper.next(50 - i).id);
  if (stats) *stats = stepper.speculation();
  return tokens;
}

TEST_P(Mtp, greedy_answers_are_the_same_with_its_guesses) {
  GenerateOptions o;
  o.speculation = {.kind = DraftKind::mtp, .num_draft_tokens = 3, .adaptive = false, .draft = {}};
  SpeculationStats stats;
  EXPECT_EQ(answer(model, o, &stats), answer(model, {}));
  EXPECT_GT(stats.proposed, 0);
}

TEST_P(Mtp, drawn_guesses_come_with_what_they_were_drawn_by) {
  MtpDraft draft(model->mtp(), {.sample = {.temperature = 1, .top_k = 3}, .seed = 1});
  auto caches = model->make_caches();
  auto ids = golden.ids("ids");
  draft.consumed(std::vector<TokenId>(ids.begin(), ids.end()),
                 model->hidden({.tokens = row(ids)}, caches));
  auto guess = draft.propose(TokenId(golden.ids("following").back()), 3);
  ASSERT_EQ(guess.probs.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(std::ranges::count_if(guess.probs[i], [](float p) { return p > 0; }), 3);
    EXPECT_GT(guess.probs[i][guess.ids[i]], 0);
  }
  // The first one is drawn from the reference's logits of the last state.
  array logits = golden.at("head_logits");
  array last = mx::slice(logits, {23, 0}, {24, logits.shape(1)});
  array p = distribution(last, {.temperature = 1, .top_k = 3}, 0);
  array got(guess.probs[0].data(), {1, logits.shape(1)}, mx::float32);
  EXPECT_LT(test::relative_difference(got, p), 1e-3f);
}

INSTANTIATE_TEST_SUITE_P(Model,
                         Mtp,
                         testing::Values("qwen3_next", "qwen3_5", "qwen3_5_moe", "deepseek_v3"),
                         [](auto& of) { return of.param; });

TEST(MtpLoading, costs_nothing_where_it_is_not_asked_for) {
  for (auto name : {"qwen3_next", "qwen3_5", "qwen3_5_moe", "deepseek_v3"}) {
    auto without = load_from(file_of(name), {}), with = load_from(file_of(name), {.mtp = true});
    EXPECT_EQ(without->mtp(), nullptr) << name;
    EXPECT_LT(without->nbytes(), with->nbytes()) << name;
    EXPECT_EQ(without->layout().size(), with->layout().size()) << name;
  }
}

TEST(MtpLoading, a_checkpoint_without_the_head_is_refused) {
  for (auto [row, tensor] : {std::pair{"qwen3_next_plain.", "mtp.fc.weight"},
                             {"qwen3_5_plain.", "mtp.fc.weight"},
                             {"deepseek_v3_plain.", "model.layers.3.eh_proj.weight"}}) {
    auto files = test::golden_files(row).at(0);
    EXPECT_EQ(test::message_of<WeightError>([&] { load_from(files, {.mtp = true}); }),
              std::string(tensor) +
                  ": missing; expected a checkpoint that keeps its head for further tokens, "
                  "found none in it");
  }
}

TEST(MtpLoading, a_model_without_such_heads_is_refused) {
  auto llama = test::golden_files("llama_plain.").at(0);
  EXPECT_EQ(test::message_of<UnsupportedError>([&] { load_from(llama, {.mtp = true}); }),
            "mtp: models of this type have no heads for further tokens; found llama");
  auto model = load_from(llama, {});
  GenerateOptions o;
  o.speculation.kind = DraftKind::mtp;
  EXPECT_EQ(test::message_of<UnsupportedError>([&] { answer(model, o); }),
            "mtp: the model has no head for further tokens, or it was not loaded");
}

TEST(MtpLoading, the_head_needs_the_states_before_its_tokens) {
  auto model = load_from(file_of("qwen3_5"), {.mtp = true});
  auto caches = model->mtp()->make_caches();
  EXPECT_EQ(test::message_of<InputError>([&] {
              model->mtp()->hidden({.tokens = row({1, 2})}, caches);
            }),
            "embeddings: missing; expected the states before the tokens");
  EXPECT_EQ(caches.consumed()[0], 0);
}

}  // namespace
}  // namespace mlxcpp::lm
