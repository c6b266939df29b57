// What guesses need of a batch's memory, against closed forms of it.
#include "mlxcpp/io/fields.h"
#include "mlxcpp/lm/batch.h"
#include "mlxcpp/lm/draft_lookup.h"
#include "mlxcpp/lm/engine.h"
#include "tests/lm/batch_support.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <random>

namespace mlxcpp::lm {
namespace {

using test::message_of;
using test::prompt_ids;
using test::small_model;
using test::small_tokenizer;
using test::Taken;

constexpr std::uint64_t kFloat = 4, kColumns = 256, kMuch = std::uint64_t{1} << 30;
constexpr const char *kModel = "llama_plain", *kDraft = "llama_rope_theta";  // alike but for theta

/// Of up to 204 tokens: two layers of two key heads with 16 numbers for each key and each value.
constexpr std::uint64_t kCache = kColumns * 2 * 2 * (16 + 16) * kFloat;
/// Of 512 tokens: eight times the feed-forward network's 96, and four rows of the vocabulary's 128.
constexpr std::uint64_t kPass = kFloat * (8 * 96 * 512 + 4 * 128);

/// All numbers of a golden's checkpoint.
std::uint64_t weights_of(const std::string& row) {
  auto golden = test::Golden::read(test::golden_files(row + ".safetensors").at(0));
  auto shapes = io::Fields::parse(golden.metadata.at("weight_shapes"));
  std::uint64_t all = 0;
  for (auto& name : shapes.keys()) {
    std::vector<int> shape;
    shapes.need(name, &shape);
    std::uint64_t n = kFloat;
    for (int extent : shape) n *= std::uint64_t(extent);
    all += n;
  }
  return all;
}

class DraftMemory : public testing::Test {
 protected:
  std::shared_ptr<const LanguageModel> model = small_model(kModel), draft = small_model(kDraft);
  std::uint64_t weights = weights_of(kDraft);

  static Request plain(int i) { return {prompt_ids(i, 3), {.max_tokens = 20, .ignore_eos = true}}; }
  Request guessing(int i, std::shared_ptr<const LanguageModel> by = {}) const {
    Request r = plain(i);
    r.options.speculation = {.kind = DraftKind::model, .num_draft_tokens = 4, .adaptive = false};
    r.options.speculation.draft = by ? by : draft;
    return r;
  }
  /// With so many bytes beside the model and its pass.
  Batch batch(std::uint64_t bytes) const {
    Batch large(model, small_tokenizer(), {.memory_limit = kMuch});
    auto fixed = kMuch - large.stats().cache_bytes_limit;
    return {model, small_tokenizer(), {.memory_limit = fixed + bytes}};
  }
};

TEST_F(DraftMemory, is_the_caches_of_each_row_and_the_model_once) {
  auto b = batch(kMuch);
  Taken taken;
  auto reserved = [&](Request request) {
    b.add(std::move(request));
    taken.step(b);
    return b.stats().cache_bytes_reserved;
  };
  EXPECT_EQ(reserved(plain(1)), kCache);
  EXPECT_EQ(reserved(guessing(2)), kCache + 2 * kCache + weights + kPass);
  EXPECT_EQ(reserved(guessing(3)), kCache + 4 * kCache + weights + kPass);
  EXPECT_EQ(reserved(guessing(4, model)), kCache + 6 * kCache + weights + kPass)
      << "a model that guesses for itself is there already";
  taken.finish(b);
  EXPECT_EQ(b.stats().cache_bytes_reserved, 0u);
  for (auto& [id, row] : taken.rows) EXPECT_EQ(row.stop, StopReason::length);
}

TEST_F(DraftMemory, is_without_weights_where_what_is_free_was_measured_beside_them) {
  Batch b(model, small_tokenizer());
  b.add(guessing(1));
  b.step();
  EXPECT_EQ(b.stats().cache_bytes_reserved, 2 * kCache + kPass);
}

TEST_F(DraftMemory, that_is_not_there_is_named_and_rows_without_guesses_go_on) {
  auto enough = 2 * kCache + weights + kPass;
  auto b = batch(enough - 1);
  EXPECT_EQ(message_of<CapacityError>([&] { b.add(guessing(1)); }),
            "draft: what guesses needs more memory than there is beside the caches; expected at "
            "most 2 MiB, found 2 MiB for 23 tokens, of it 2 MiB for the draft model; try requests "
            "without guesses");
  EXPECT_TRUE(b.idle());
  EXPECT_EQ(b.stats().waiting, 0);
  RowId id = b.add(plain(1));
  Taken taken;
  taken.finish(b);
  EXPECT_EQ(taken.rows[id].answer.tokens.size(), 20u);
  EXPECT_NO_THROW(batch(enough).add(guessing(1)));
}

TEST_F(DraftMemory, is_waited_for) {
  auto b = batch(2 * kCache + weights + kPass);
  std::vector<RowId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(b.add(i % 2 ? plain(i) : guessing(i)));
  Taken taken;
  while (!b.idle()) {
    taken.step(b);
    EXPECT_LE(b.stats().cache_bytes_reserved, b.stats().cache_bytes_limit);
  }
  for (RowId id : ids) EXPECT_EQ(taken.rows[id].answer.tokens.size(), 20u);
}

TEST_F(DraftMemory, of_another_draft_is_counted_beside_it_and_given_back_with_its_last_row) {
  auto other = small_model(kDraft);
  auto b = batch(kMuch);
  auto row = guessing(1, other);
  row.options.max_tokens = 3;
  b.add(guessing(2));
  b.add(std::move(row));
  Taken taken;
  taken.step(b);
  EXPECT_EQ(b.stats().cache_bytes_reserved, 2 * (2 * kCache + weights + kPass));
  while (b.stats().generating == 2) taken.step(b);
  EXPECT_EQ(b.stats().cache_bytes_reserved, 2 * kCache + weights + kPass);
}

TEST_F(DraftMemory, that_an_engine_has_not_is_the_requests_failure) {
  Batch large(model, small_tokenizer(), {.memory_limit = kMuch});
  auto limit = kMuch - large.stats().cache_bytes_limit + 2 * kCache + weights;
  Engine engine([&] { return ModelContext(model, small_tokenizer(), BaseConfig{}); },
                {.batch = {.memory_limit = limit}});
  auto last = [](Reply reply) {
    RowEvent e;
    while (reply.next(&e) == Pull::event) {
    }
    return e;
  };
  auto refused = last(engine.submit(guessing(1)));
  ASSERT_TRUE(refused.failure);
  EXPECT_EQ(refused.failure->kind, ErrorKind::capacity);
  EXPECT_EQ(refused.failure->message.find("draft: what guesses needs"), 0u);
  EXPECT_EQ(last(engine.submit(plain(1))).event.stop, StopReason::length);
}

TEST(LookupMemory, is_not_more_than_was_estimated) {
  std::mt19937 random(3);
  PromptLookup lookup;
  for (int n = 1; n <= 3000; ++n) {
    auto id = TokenId(random());  // nothing occurs twice: as many pairs as there can be
    lookup.consumed({&id, 1}, {});
    ASSERT_LE(lookup.nbytes(), lookup.most_bytes(n)) << n;
  }
}

}  // namespace
}  // namespace mlxcpp::lm
