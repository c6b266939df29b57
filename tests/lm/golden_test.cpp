// Every architecture against mlx-lm and transformers, one row of settings after the other, each
// loaded through load() from a real model directory or GGUF file.
#include "tests/support/golden.h"

#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/ops/cpu/features.h"
#include "mlxcpp/ops/device.h"
#include "tests/support/temp_dir.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace mlxcpp::lm {
namespace {

using test::Golden;

std::shared_ptr<const LanguageModel> load_golden(const std::filesystem::path& file,
                                                 const test::TempDir& dir) {
  ModelTypeRegistry registry;
  add_models(registry);
  auto gguf = file;
  gguf.replace_extension(".gguf");
  if (std::filesystem::exists(gguf))
    return load(ModelConfiguration::from_directory(gguf), registry).model;
  test::write_model(dir.path(), file);
  return load(ModelConfiguration::from_directory(dir.path()), registry).model;
}

/// Where frequencies follow the length of a pass, pieces differ from the whole by meaning.
bool depends_on_pass_length(const std::string& row) {
  return row.ends_with("_rope_dynamic_beyond") ||
         (row.find("_rope_longrope_") != row.npos && !row.ends_with("_short"));
}

std::string name_of_row(const testing::TestParamInfo<std::filesystem::path>& info) {
  return info.param.stem().string();
}

class ModelGolden : public testing::TestWithParam<std::filesystem::path> {
 protected:
  ModelGolden() : golden(Golden::read(GetParam())), model(load_golden(GetParam(), dir)) {
    bool packed = std::ranges::any_of(model->manifest().linears,
                                      [](auto& entry) { return !entry.second->dense(); });
    // Our kernels multiply packed weights with activations of 16 bits.
    if (packed && ops::own_kernels()) tolerance = 1e-3f;
  }

  float tolerance = 1e-4f;  // of the largest logit

  test::TempDir dir;
  Golden golden;
  std::shared_ptr<const LanguageModel> model;
};

TEST_P(ModelGolden, gives_the_reference_logits_for_a_prompt_in_one_pass) {
  auto caches = model->make_caches();
  float d = test::relative_difference(test::forward(*model, caches, golden.ids("ids")),
                                      golden.at("logits"));
  RecordProperty("difference", std::to_string(d));
  EXPECT_LT(d, tolerance) << "regenerate: " << golden.metadata["command"];
}

TEST_P(ModelGolden, is_near_the_reference_where_products_are_rounded_to_bfloat16) {
  if (!ops::own_kernels()) GTEST_SKIP() << "MLX's own operations";
  cpu::Settings exact = cpu::Settings::read(), rounded = exact;
  rounded.deterministic = false;
  cpu::use(rounded);
  auto caches = model->make_caches();
  array logits = test::forward(*model, caches, golden.ids("ids"));
  logits.eval();
  cpu::use(exact);
  // Where rounding makes a router choose another expert, a token is another one: the middle of all.
  std::vector<float> differences;
  for (int t = 0; t < logits.shape(0); ++t) {
    auto row = [&](const array& x) { return mx::slice(x, {t, 0}, {t + 1, x.shape(1)}); };
    differences.push_back(test::relative_difference(row(logits), row(golden.at("logits"))));
  }
  auto middle = differences.begin() + differences.size() / 2;
  std::nth_element(differences.begin(), middle, differences.end());
  RecordProperty("difference", std::to_string(*middle));
  EXPECT_LT(*middle, 0.05f);
}

TEST_P(ModelGolden, gives_the_same_without_a_cache) {
  Caches none;
  EXPECT_LT(test::relative_difference(test::forward(*model, none, golden.ids("ids")),
                                      golden.at("logits")),
            tolerance);
}

TEST_P(ModelGolden, gives_the_same_in_chunks) {
  if (depends_on_pass_length(GetParam().stem().string())) GTEST_SKIP() << "by meaning";
  auto ids = golden.ids("ids");
  auto caches = model->make_caches();
  std::vector<array> pieces;
  for (size_t i = 0; i < ids.size(); i += 7)
    pieces.push_back(test::forward(
        *model, caches, {ids.begin() + i, ids.begin() + std::min(ids.size(), i + 7)}));
  EXPECT_LT(test::relative_difference(mx::concatenate(pieces, 0), golden.at("logits")), tolerance);
}

TEST_P(ModelGolden, continues_greedily_as_the_reference) {
  auto caches = model->make_caches();
  array logits = test::forward(*model, caches, golden.ids("ids"));
  array row = mx::slice(logits, {logits.shape(0) - 1, 0}, logits.shape());
  std::vector<int> tokens;
  std::vector<array> rows;
  for (size_t i = 0; i < golden.ids("tokens").size(); ++i) {
    rows.push_back(row);
    tokens.push_back(int(mx::argmax(row).item<std::uint32_t>()));
    row = test::forward(*model, caches, {tokens.back()});
  }
  EXPECT_EQ(tokens, golden.ids("tokens"));
  EXPECT_LT(test::relative_difference(mx::concatenate(rows, 0), golden.at("step_logits")),
            tolerance);
}

TEST_P(ModelGolden, gives_rows_of_different_lengths_what_each_gets_alone) {
  auto ids = golden.ids("ids");
  std::vector<std::vector<int>> rows = {
      {ids.begin(), ids.begin() + 5}, ids, {ids.begin() + 3, ids.begin() + 12}};
  int L = int(ids.size());
  std::vector<int> flat, lengths;
  for (auto& r : rows) {
    lengths.push_back(int(r.size()));
    for (int j = 0; j < L; ++j) flat.push_back(j < int(r.size()) ? r[j] : 0);
  }
  auto caches = model->make_caches({.rows = 3});
  Input in{.tokens = array(flat.data(), {3, L}, mx::int32), .lengths = lengths};
  array prompt = model->logits(model->hidden(in, caches));
  std::vector<int> next = {7, 8, 9};
  Input step{.tokens = array(next.data(), {3, 1}, mx::int32)};
  array after = model->logits(model->hidden(step, caches));
  for (int b = 0; b < 3; ++b) {
    auto alone = model->make_caches();
    array want = test::forward(*model, alone, rows[b]),
          step_want = test::forward(*model, alone, {next[b]});
    int V = want.shape(1);
    array got = mx::reshape(mx::slice(prompt, {b, 0, 0}, {b + 1, lengths[b], V}), {lengths[b], V});
    EXPECT_LT(test::relative_difference(got, want), tolerance) << "row " << b;
    array got_step = mx::reshape(mx::slice(after, {b, 0, 0}, {b + 1, 1, V}), {1, V});
    EXPECT_LT(test::relative_difference(got_step, step_want), tolerance) << "row " << b;
  }
}

INSTANTIATE_TEST_SUITE_P(Row, ModelGolden, testing::ValuesIn(test::golden_files()), name_of_row);

/// Checkpoints in half types, and what mlx-lm gives when it computes in that type, too.
class HalfGolden : public ModelGolden {};

double cosine(const array& a, const array& b) {
  auto dot = [](const array& x, const array& y) {
    return double(mx::sum(mx::multiply(x, y)).item<float>());
  };
  return dot(a, b) / std::sqrt(dot(a, a) * dot(b, b));
}

TEST_P(HalfGolden, points_where_the_reference_in_half_precision_points) {
  auto caches = model->make_caches();
  array got = test::forward(*model, caches, golden.ids("ids"));
  array want = golden.at("logits_native");
  EXPECT_GT(cosine(got, want), 0.999);
  // What the reference loses by computing in halves may turn two near logits around, no more.
  array lost = mx::max(mx::abs(mx::subtract(want, golden.at("logits"))));
  array chosen = mx::take_along_axis(want, mx::argmax(got, -1, true), -1);
  array short_of_best = mx::max(mx::subtract(mx::max(want, -1, true), chosen));
  EXPECT_LE(short_of_best.item<float>(), 2 * lost.item<float>());
}

std::vector<std::filesystem::path> half_files() {
  auto files = test::golden_files();
  std::erase_if(files, [](auto& f) { return !test::golden_has(f, "logits_native"); });
  return files;
}

INSTANTIATE_TEST_SUITE_P(Row, HalfGolden, testing::ValuesIn(half_files()), name_of_row);

}  // namespace
}  // namespace mlxcpp::lm
