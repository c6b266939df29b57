// Layers that read the keys of another.
#include "mlxcpp/nn/key_sharing.h"

#include "tests/support/contract.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mlxcpp::nn {
namespace {

using test::expect_contract;
using test::map_of;
using test::noise;
using test::Shapes;

KeySharing read(const char* text, int layers) {
  auto f = io::Fields::parse(text);
  KeySharing sharing;
  sharing.fields(f, layers);
  return sharing;
}

TEST(KeySharing, gives_late_layers_the_last_owner_of_their_kind) {
  auto sharing = read(R"({"num_kv_shared_layers": 3})", 7);
  auto slides = [](int layer) { return layer % 3 != 2; };  // s s f s | s f s
  std::vector<int> owners;
  for (int i = 0; i < 7; ++i) owners.push_back(sharing.owner(i, slides));
  EXPECT_EQ(owners, (std::vector{0, 1, 2, 3, 3, 2, 3}));
  EXPECT_FALSE(sharing.reads(3));
  EXPECT_TRUE(sharing.reads(4));
}

TEST(KeySharing, shares_nothing_unless_told) {
  auto sharing = read("{}", 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(sharing.owner(i, [](int) { return false; }), i);
}

TEST(KeySharing, refuses_layers_without_keys_to_read) {
  auto error = [](auto action) { return test::message_of<ConfigError>(action); };
  EXPECT_EQ(error([] { read(R"({"num_kv_shared_layers": 3})", 3); }),
            "config.num_kv_shared_layers: expected a number from 0 to 2, found 3");
  EXPECT_EQ(error([] { read(R"({"num_kv_shared_layers": -1})", 3); }),
            "config.num_kv_shared_layers: expected a number from 0 to 2, found -1");
  auto sharing = read(R"({"num_kv_shared_layers": 1})", 3);
  EXPECT_EQ(error([&] { sharing.owner(2, [](int layer) { return layer < 2; }); }),
            "config.num_kv_shared_layers: no layer of its type has keys for layer 2; expected one "
            "of the first 2, found none");
}

const AttentionShape kShape{
    .dim = 12, .heads = 4, .kv_heads = 2, .head_dim = 6, .qk_norm = 1e-5f, .scale = 1, .window = 9};
const Shapes kReads = {
    {"a.q_proj.weight", {24, 12}}, {"a.o_proj.weight", {12, 24}}, {"a.q_norm.weight", {6}}};

Shapes with_keys() {
  Shapes all = kReads;
  all.insert({{"a.k_proj.weight", {12, 12}}, {"a.k_norm.weight", {6}}});
  return all;
}
Shapes with_values() {
  Shapes all = with_keys();
  all.insert({"a.v_proj.weight", {12, 12}});
  return all;
}

SharingAttention bound(Scope s, const KeySource& source) {
  return {s, kShape, {.dims = 6}, source};
}

TEST(SharingAttention, binds_keys_and_values_only_where_it_has_them) {
  expect_contract(with_values(), [](Scope s) { bound(s, {.layer = 1, .owner = 1}); });
  expect_contract(with_keys(),
                  [](Scope s) { bound(s, {.layer = 1, .owner = 1, .as_values = true}); });
  expect_contract(kReads, [](Scope s) { bound(s, {.layer = 1, .owner = 0}); });
}

TEST(SharingAttention, keeps_only_keys_of_its_own) {
  WeightMap own = map_of(with_values()), reads = map_of(kReads);
  auto kept = bound(Scope(own, "a"), {.layer = 1, .owner = 1}).layout();
  ASSERT_EQ(kept.kv.size(), 1u);
  EXPECT_EQ(kept.kv[0].heads, 2);
  EXPECT_EQ(kept.kv[0].k_dim, 6);
  EXPECT_EQ(kept.kv[0].v_dim, 6);
  EXPECT_EQ(kept.kv[0].window, 9);
  EXPECT_TRUE(bound(Scope(reads, "a"), {.layer = 1, .owner = 0}).layout().kv.empty());
}

/// A pass of three tokens that nothing remembers.
const ops::Layer kOwn{
    std::make_shared<ops::Rows>(1, 3, std::vector{0}, std::vector{3}), {nullptr}, {}};
const ops::Layer kReading{kOwn.rows, {}, {}};

TEST(SharingAttention, reads_the_view_of_its_owner) {
  WeightMap map = map_of(with_values()), same = map_of(with_values());
  auto owner = bound(Scope(map, "a"), {.layer = 0, .owner = 0});
  auto reader = bound(Scope(same, "a"), {.layer = 1, .owner = 0});
  KvViews views(2);
  array x = noise({1, 3, 12}, 5), other = noise({1, 3, 12}, 6);
  test::Numbers expected = owner(x, kOwn, views);
  EXPECT_FALSE(views[1]);
  EXPECT_LT(test::relative(reader(x, kReading, views), expected), 1e-6);
  EXPECT_GT(test::relative(reader(other, kReading, views), expected), 0.1) << "queries are its own";
  KvViews empty(2);
  owner(other, kOwn, empty);
  EXPECT_GT(test::relative(reader(x, kReading, empty), expected), 0.1) << "keys are not";
}

TEST(SharingAttention, norms_values_without_a_weight) {
  WeightMap map = map_of(with_values());
  test::Numbers w(map.arrays.at("a.v_proj.weight")), x(noise({3, 12}, 5));
  auto attention = bound(Scope(map, "a"), {.layer = 0, .owner = 0});
  KvViews views(1);
  attention(mx::expand_dims(x.as(), 0), kOwn, views);
  test::Numbers got(views[0]->parts[0].v()), product = test::times_transposed(x, w);
  for (int token = 0; token < 3; ++token)
    for (int head = 0; head < 2; ++head) {
      double sum = 0;
      for (int d = 0; d < 6; ++d) sum += std::pow(product(token, head * 6 + d), 2);
      for (int d = 0; d < 6; ++d)
        EXPECT_NEAR(
            got(0, head, token, d), product(token, head * 6 + d) / std::sqrt(sum / 6 + 1e-5), 1e-5);
    }
}

TEST(SharingAttention, takes_keys_as_values_before_their_norm) {
  WeightMap map = map_of(with_values()), keys = map_of(with_keys());
  for (auto& [name, value] : keys.arrays) map.arrays.insert_or_assign(name, value);
  map.arrays.insert_or_assign("a.v_proj.weight", keys.arrays.at("a.k_proj.weight"));
  auto both = bound(Scope(map, "a"), {.layer = 0, .owner = 0});
  auto one = bound(Scope(keys, "a"), {.layer = 0, .owner = 0, .as_values = true});
  KvViews views(1);
  array x = noise({1, 3, 12}, 5);
  test::Numbers expected = both(x, kOwn, views);
  EXPECT_LT(test::relative(one(x, kOwn, views), expected), 1e-6);
}

TEST(DropKeys, leaves_what_a_reading_layer_needs) {
  Shapes all = with_values();
  all.insert({{"a.v_norm.weight", {6}}, {"b.k_proj.weight", {12, 12}}});
  WeightMap map = map_of(all);
  drop_keys(map, Scope(map, "a"));
  std::vector<std::string> left;
  for (auto& [name, value] : map.arrays) left.push_back(name);
  EXPECT_EQ(left,
            (std::vector<std::string>{
                "a.o_proj.weight", "a.q_norm.weight", "a.q_proj.weight", "b.k_proj.weight"}));
}

}  // namespace
}  // namespace mlxcpp::nn
