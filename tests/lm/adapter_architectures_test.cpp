// Adapters of every projection that mlx-lm adapts, in a model of every architecture.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/lm/adapters.h"
#include "mlxcpp/lm/fuse.h"
#include "mlxcpp/ops/device.h"
#include "tests/support/adapter_golden.h"
#include "tests/support/errors.h"

#include <mlx/io.h>
#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <map>
#include <unordered_map>

namespace mlxcpp::lm {
namespace {

using test::relative_difference;

const test::Golden& golden() {
  static const auto g = test::Golden::read(MLXCPP_TEST_DATA "/adapters/architectures.safetensors");
  return g;
}

std::vector<std::string> rows() {
  std::vector<std::string> names;
  for (auto& [name, value] : golden().tensors) names.push_back(name);
  return names;
}

class AdaptedArchitecture : public testing::TestWithParam<std::string> {
 protected:
  AdaptedArchitecture()
      : model(test::load_row(test::golden_files(GetParam() + ".safetensors").at(0))) {}

  /// Rank one, with numbers that the names give.
  Adapter adapter() const {
    auto config = AdapterConfig::read(
        io::Fields::parse(R"({"num_layers": -1, "lora_parameters": {"rank": 1, "scale": 1.0}})"));
    Adapter made{"the adapter", config, {}};
    auto modules = io::Fields::parse(golden().metadata.at("modules")).need_object(GetParam());
    auto tensor = [&](const std::string& name) {
      std::vector<int> shape;
      modules.need(name, &shape);
      return test::seeded_tensor(GetParam() + ": " + name, mx::Shape(shape.begin(), shape.end()));
    };
    const std::string leaf = ".lora_a";
    for (auto& name : modules.keys()) {
      if (!name.ends_with(leaf)) continue;
      std::string module = name.substr(0, name.size() - leaf.size());
      made.factors.emplace(module, AdapterFactors{tensor(name), tensor(module + ".lora_b"), {}});
    }
    return made;
  }
  array last_logits(std::vector<int> adapters = {}) const {
    auto ids = test::Golden::read(test::golden_files(GetParam() + ".safetensors").at(0)).ids("ids");
    int n = int(ids.size());
    Input in{.tokens = array(ids.data(), {1, n}, mx::int32), .adapters = std::move(adapters)};
    auto caches = model->make_caches();
    array y = mx::squeeze(model->logits(model->hidden(in, caches)), 0);
    return mx::squeeze(mx::slice(y, {n - 1, 0}, y.shape()), 0);
  }

  std::shared_ptr<const LanguageModel> model;
};

TEST_P(AdaptedArchitecture, gives_mlx_lms_logits) {
  array plain = last_logits();
  AdapterSet set(model);
  set.add("it", adapter());
  EXPECT_LT(relative_difference(last_logits({1}), golden().at(GetParam())), 1e-3f);
  EXPECT_EQ(relative_difference(last_logits({0}), plain), 0);
}

TEST_P(AdaptedArchitecture, names_no_module_of_another_one) {
  auto made = adapter();
  for (auto& found : resolve(made, *model))
    EXPECT_EQ(model->manifest().linears.count(found.path), found.weight ? 1u : 0u) << found.path;
  auto node = made.factors.extract(made.factors.begin());
  node.key() += "_other";
  made.factors.insert(std::move(node));
  EXPECT_THROW(resolve(made, *model), WeightError);
}

/// Experts as published are in another layout than the model's, which fusing does not turn round.
const std::map<std::string, std::string> kNotFused = {
    {"gpt_oss_plain", "model.layers.0.mlp.experts.down_proj"},
    {"llama4_plain", "model.layers.1.feed_forward.experts.down_proj"}};

TEST_P(AdaptedArchitecture, fused_gives_the_same_logits) {
  test::TempDir dir;
  auto model_folder = dir.path() / "model", folder = dir.path() / "adapter";
  std::filesystem::create_directory(model_folder);
  std::filesystem::create_directory(folder);
  test::write_model(model_folder, test::golden_files(GetParam() + ".safetensors").at(0));
  std::ofstream(folder / "adapter_config.json")
      << R"({"num_layers": -1, "lora_parameters": {"rank": 1, "scale": 1.0}})";
  std::unordered_map<std::string, array> tensors;
  for (auto& [module, f] : adapter().factors) {
    tensors.emplace(module + ".lora_a", f.a);
    tensors.emplace(module + ".lora_b", f.b);
  }
  mx::save_safetensors((folder / "adapters.safetensors").string(), tensors);
  ModelTypeRegistry registry;
  add_models(registry);
  auto run = [&] { fuse(model_folder, folder, dir.path() / "out", registry); };
  if (auto it = kNotFused.find(GetParam()); it != kNotFused.end()) {
    auto message = test::message_of<UnsupportedError>(run);
    EXPECT_TRUE(message.starts_with(it->second + ": is stored in a form")) << message;
    return;
  }
  run();
  model = load_model(ModelConfiguration::from_directory((dir.path() / "out").string()), registry);
  EXPECT_LT(relative_difference(last_logits(), golden().at(GetParam())), 1e-3f);
}

TEST(AdaptedFalcon, takes_adapters_only_for_the_numbers_that_they_were_trained_with) {
  auto refusal = [](const std::string& row, const std::string& config) {
    auto model = test::load_row(test::golden_files(row + ".safetensors").at(0));
    Adapter adapter{"the adapter", AdapterConfig::read(io::Fields::parse(config)), {}};
    adapter.factors.emplace("model.layers.0.self_attn.q_proj",
                            AdapterFactors{mx::zeros({64, 1}), mx::zeros({1, 64}), {}});
    return test::message_of<UnsupportedError>([&] { resolve(adapter, *model); });
  };
  EXPECT_EQ(refusal("falcon_h1_plain", "{}"),
            "the adapter: mlx-lm's conversion multiplies these weights; expected one that mlx-lm "
            "converted");
  EXPECT_EQ(refusal("falcon_h1_converted", R"({"peft_type": "LORA"})"),
            "the adapter: this checkpoint's multipliers are in its weights; expected the original "
            "one");
}

INSTANTIATE_TEST_SUITE_P(Golden, AdaptedArchitecture, testing::ValuesIn(rows()), [](auto& row) {
  return row.param;
});

}  // namespace
}  // namespace mlxcpp::lm
