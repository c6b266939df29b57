// Adapters of mlx-lm and PEFT against what these give with them.
#include "mlxcpp/lm/adapters.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/batch.h"
#include "mlxcpp/ops/device.h"
#include "tests/lm/batch_support.h"
#include "tests/support/adapter_golden.h"
#include "tests/support/errors.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <algorithm>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;
using test::AdapterGolden;
using test::message_of;
using test::relative_difference;
using test::TempDir;

array logits_of(const LanguageModel& model, const std::vector<int>& ids) {
  auto caches = model.make_caches();
  return test::forward(model, caches, ids);
}

/// Packed weights are multiplied with activations of 16 bits by our kernels.
float tolerance(const LanguageModel& model) {
  bool packed = std::ranges::any_of(model.manifest().linears,
                                    [](auto& entry) { return !entry.second->dense(); });
  return packed && ops::own_kernels() ? 2e-3f : 2e-4f;
}

class Adapters : public testing::TestWithParam<const char*> {};

TEST_P(Adapters, give_the_references_logits) {
  AdapterGolden a(GetParam());
  TempDir dir;
  a.write(dir.path());
  auto model = test::load_row(a.row(), dir.path().string());
  auto ids = a.golden.ids("ids");
  EXPECT_LT(relative_difference(logits_of(*model, ids), a.golden.at("logits")), tolerance(*model))
      << a.golden.metadata["command"];
}

TEST_P(Adapters, are_left_out_of_rows_without_one) {
  AdapterGolden a(GetParam());
  TempDir dir;
  a.write(dir.path());
  auto model = test::load_row(a.row());
  auto ids = a.golden.ids("ids");
  array plain = logits_of(*model, ids);
  AdapterSet set(model);
  EXPECT_EQ(set.add("it", Adapter::read(dir.path())), 1);
  EXPECT_EQ(relative_difference(logits_of(*model, ids), plain), 0);
  EXPECT_GT(relative_difference(plain, a.golden.at("logits")), 0.01f);
  set.choose(1);
  EXPECT_GT(relative_difference(logits_of(*model, ids), plain), 0.01f);
  set.choose(0);
  EXPECT_EQ(relative_difference(logits_of(*model, ids), plain), 0);
}

TEST_P(Adapters, stand_beside_others_in_a_batch) {
  AdapterGolden a(GetParam());
  TempDir dir;
  a.write(dir.path());
  auto model = test::load_row(a.row());
  AdapterSet set(model);
  auto adapter = Adapter::read(dir.path());
  // Another one: the same modules with other numbers.
  auto other = adapter;
  for (auto& [module, f] : other.factors) f.b = mx::multiply(f.b, array(-0.5f));
  set.add("other", other);
  EXPECT_EQ(set.add("it", adapter), 2);
  set.materialize();
  auto ids = a.golden.ids("ids");
  int n = int(ids.size());
  std::vector<int> three;
  for (int b = 0; b < 3; ++b) three.insert(three.end(), ids.begin(), ids.end());
  auto run = [&](std::vector<int> rows, std::vector<int> adapters) {
    int count = int(adapters.size());
    auto caches = model->make_caches({.rows = count});
    Input in{.tokens = array(rows.data(), {count, n}, mx::int32), .adapters = adapters};
    array y = model->logits(model->hidden(in, caches));
    y.eval();
    return y;
  };
  auto row = [&](const array& y, int b) { return mx::take(y, array(b), 0); };
  array mixed = run(three, {2, 0, 1});
  EXPECT_LT(relative_difference(row(mixed, 0), a.golden.at("logits")), tolerance(*model));
  EXPECT_LT(relative_difference(row(mixed, 1), logits_of(*model, ids)), tolerance(*model));
  EXPECT_LT(relative_difference(row(mixed, 2), row(run(ids, {1}), 0)), tolerance(*model));
  EXPECT_GT(relative_difference(row(mixed, 2), row(mixed, 0)), 0.005f);
}

INSTANTIATE_TEST_SUITE_P(Golden,
                         Adapters,
                         testing::ValuesIn(test::kAdapterGoldens),
                         [](auto& name) { return std::string(name.param); });

// --- Several ------------------------------------------------------------------------------------

TEST(AdapterSets, hold_adapters_of_other_ranks_kinds_and_modules) {
  AdapterGolden lora("lora_last_layer"), dora("dora");  // ranks 3 and 4
  TempDir dir;
  lora.write(dir.path() / "lora");
  dora.write(dir.path() / "dora");
  auto model = test::load_row(lora.row());
  auto ids = lora.golden.ids("ids");
  array plain = logits_of(*model, ids);
  AdapterSet set(model);
  set.add("a", Adapter::read(dir.path() / "lora"));
  set.add("b", Adapter::read(dir.path() / "dora"));
  EXPECT_EQ(set.find("a"), 1);
  EXPECT_EQ(set.find("b"), 2);
  EXPECT_EQ(set.find("c"), std::nullopt);
  set.materialize();
  EXPECT_GT(set.nbytes(), 1000u);
  set.choose(1);
  EXPECT_LT(relative_difference(logits_of(*model, ids), lora.golden.at("logits")), 2e-4f);
  set.choose(2);
  EXPECT_LT(relative_difference(logits_of(*model, ids), dora.golden.at("logits")), 2e-4f);
  set.choose(0);
  EXPECT_EQ(relative_difference(logits_of(*model, ids), plain), 0);
}

TEST(AdapterSets, refuse_names_that_are_taken_and_numbers_beyond_the_last) {
  AdapterGolden a("lora_keys");
  TempDir dir;
  a.write(dir.path());
  auto model = test::load_row(a.row());
  AdapterSet set(model);
  auto adapter = Adapter::read(dir.path());
  set.add("x", adapter);
  EXPECT_EQ(message_of<InputError>([&] { set.add("x", adapter); }),
            "adapter \"x\": the name is taken");
  EXPECT_EQ(message_of<InputError>([&] { set.choose(2); }),
            "adapter: no such one; expected 0 to 1, found 2");
  EXPECT_EQ(message_of<InputError>([&] { AdapterSet again(model); }),
            "adapters: the model has some; expected none, found 1");
  Caches none;
  int ids[] = {1, 2};
  Input in{.tokens = array(ids, {1, 2}, mx::int32), .adapters = {2}};
  EXPECT_EQ(message_of<InputError>([&] { model->hidden(in, none); }),
            "input.adapters: no such adapter; expected 0 to 1, found 2");
}

TEST(AdapterSets, keep_what_they_had_when_one_does_not_fit) {
  AdapterGolden good("lora_keys"), bad("lora_experts");
  TempDir dir;
  good.write(dir.path() / "good");
  bad.write(dir.path() / "bad");
  auto model = test::load_row(good.row());
  auto ids = good.golden.ids("ids");
  AdapterSet set(model);
  set.choose(set.add("good", Adapter::read(dir.path() / "good")));
  array before = logits_of(*model, ids);
  auto bytes = set.nbytes();
  for (int i = 0; i < 20; ++i)
    EXPECT_THROW(set.add("bad", Adapter::read(dir.path() / "bad")), WeightError);
  EXPECT_EQ(set.names(), std::vector<std::string>{"good"});
  EXPECT_EQ(set.nbytes(), bytes);
  EXPECT_EQ(relative_difference(logits_of(*model, ids), before), 0);
}

TEST(AdapterSets, serve_rows_of_a_batch_that_generate_at_their_own_pace) {
  AdapterGolden a("lora_tied_table");  // the head has it too
  TempDir dir;
  a.write(dir.path());
  auto model = test::load_row(a.row());
  AdapterSet set(model);
  auto adapter = Adapter::read(dir.path());
  auto other = adapter;
  for (auto& [module, f] : other.factors) f.b = mx::multiply(f.b, array(-0.5f));
  set.add("it", adapter);
  set.add("other", other);
  std::vector<std::vector<TokenId>> prompts;
  for (int n : {2, 9, 5}) {
    auto ids = a.golden.ids("ids");
    prompts.emplace_back(ids.begin(), ids.begin() + n);
  }
  GenerateOptions options{.max_tokens = 5, .ignore_eos = true};
  std::map<int, std::vector<TokenId>> alone, together;
  for (int i = 0; i < 3; ++i) {
    set.choose(i);
    alone[i] = test::alone(model, prompts[size_t(i)], options).tokens;
  }
  set.choose(0);
  EXPECT_NE(alone[0], alone[1]);
  BatchOptions pace;
  pace.step = {.prefill_step_size = 3, .prefill_seconds = 0};
  Batch batch(model, test::small_tokenizer(), pace);
  std::map<RowId, int> number;
  for (int i = 0; i < 3; ++i)
    number[batch.add({.prompt = prompts[size_t(i)], .options = options, .adapter = i})] = i;
  while (!batch.idle())
    for (auto& event : batch.step()) {
      EXPECT_FALSE(event.failure) << event.failure->message;
      if (event.event.token) together[number.at(event.row)].push_back(*event.event.token);
    }
  EXPECT_EQ(together, alone);
}

class AdapterGradients : public testing::TestWithParam<const char*> {};

TEST_P(AdapterGradients, are_finite_differences) {
  AdapterGolden a(GetParam());
  TempDir dir;
  a.write(dir.path());
  auto model = test::load_row(a.row(), dir.path().string());
  auto ids = a.golden.ids("ids");
  std::vector<ops::Weight> weights;
  std::vector<array> values;
  for (auto& [path, w] : model->manifest().linears)
    if (w->adapters) weights.push_back(w), values.push_back(w->adapters->b);
  std::vector<int> all(values.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = int(i);
  auto loss = [&](const std::vector<array>& b) {
    for (size_t i = 0; i < b.size(); ++i) weights[i]->adapters->b = b[i];
    Caches none;
    Input in{.tokens = array(ids.data(), {1, int(ids.size())}, mx::int32)};
    return mx::mean(mx::square(model->logits(model->hidden(in, none))));
  };
  auto [value, grads] =
      mx::value_and_grad(std::function<array(const std::vector<array>&)>(loss), all)(values);
  mx::eval(grads);
  for (size_t i = 0; i < values.size(); ++i) {
    const array& grad = grads[i];
    float expect = mx::sum(mx::square(grad)).item<float>();
    ASSERT_GT(expect, 0);
    auto at = [&](float t) {
      auto moved = values;
      moved[i] = mx::add(moved[i], mx::multiply(grad, array(t)));
      return loss(moved).item<float>();
    };
    float best = 1;  // a large step bends, or makes a router choose otherwise; a small one rounds
    for (float step : {0.05f, 0.02f, 0.005f, 0.002f}) {
      float h = step / std::sqrt(expect);
      best = std::min(best, std::abs((at(h) - at(-h)) / (2 * h) / expect - 1));
    }
    EXPECT_LT(best, 0.02f) << i;
  }
}
INSTANTIATE_TEST_SUITE_P(Golden,
                         AdapterGradients,
                         testing::Values("lora", "dora", "lora_tied_table", "lora_experts"),
                         [](auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace mlxcpp::lm
