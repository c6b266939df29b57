#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/loaded_model.h"
#include "mlxcpp/lm/model.h"
#include "tests/support/errors.h"
#include "tests/support/script_model.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <thread>

namespace mlxcpp::lm {
namespace {

/// Makes models that are told apart by their vocabulary.
ModelConstructor maker(int vocab) {
  return [vocab](const LoadedModel&) -> std::unique_ptr<LanguageModel> {
    return std::make_unique<test::ScriptModel>(std::vector<int>{0}, vocab);
  };
}

LoadedModel checkpoint(const std::string& model_type) {
  LoadedModel loaded;
  loaded.config.model_type = model_type;
  return loaded;
}

int made_by(const ModelTypeRegistry& registry, const std::string& model_type) {
  return registry.create(checkpoint(model_type))->vocab_size();
}

std::string refusal(const ModelTypeRegistry& registry, const std::string& model_type) {
  return test::message_of<UnsupportedError>([&] { registry.create(checkpoint(model_type)); });
}

// MODEL_REMAPPING of mlx-lm 0.32.2, utils.py.
const std::map<std::string, std::string> kRemapping = {
    {"mistral", "llama"},
    {"llava", "mistral3"},
    {"phi-msft", "phixtral"},
    {"falcon_mamba", "mamba"},
    {"joyai_llm_flash", "deepseek_v3"},
    {"kimi_k2", "deepseek_v3"},
    {"qwen2_5_vl", "qwen2_vl"},
    {"minimax_m2", "minimax"},
    {"iquestcoder", "llama"},
    {"xverse", "llama"},
    {"gemma4_unified", "gemma4"},
    {"deepseek_v41_text", "deepseek_v41"},
};

TEST(RemapModelType, is_mlx_lms_table) {
  std::map<std::string, std::vector<std::string>> aliases;
  for (auto& [from, to] : kRemapping) {
    EXPECT_EQ(remap_model_type(from), to);
    aliases[to].push_back(from);
  }
  for (auto& [to, from] : aliases)
    EXPECT_EQ(ModelTypeRegistry::aliases_of(to), from) << to;  // and has no row more
  EXPECT_TRUE(ModelTypeRegistry::aliases_of("qwen3").empty());
}

TEST(RemapModelType, leaves_unknown_ids_as_they_are) {
  for (auto id : {"llama", "qwen3", "", "Mistral", "mistral ", "mistral3", "no such thing"})
    EXPECT_EQ(remap_model_type(id), id);
}

TEST(RemapModelType, takes_one_step_only) {
  for (auto& [from, to] : kRemapping) EXPECT_EQ(remap_model_type(remap_model_type(from)), to);
  EXPECT_EQ(remap_model_type("llava"), "mistral3");  // not on to what mistral is
}

TEST(Registry, starts_empty) {
  ModelTypeRegistry registry;
  EXPECT_TRUE(registry.model_types().empty());
  EXPECT_FALSE(registry.contains("llama"));
  EXPECT_THROW(registry.require("llama"), UnsupportedError);
}

TEST(Registry, finds_a_model_by_its_id_and_by_every_alias) {
  ModelTypeRegistry registry;
  EXPECT_FALSE(registry.add("llama", maker(3)).has_value());
  for (auto id : {"llama", "mistral", "iquestcoder", "xverse"}) {
    EXPECT_TRUE(registry.contains(id)) << id;
    EXPECT_EQ(made_by(registry, id), 3) << id;
    registry.require(id);
  }
  EXPECT_FALSE(registry.contains("mistral3"));
}

TEST(Registry, registers_an_alias_as_what_it_stands_for) {
  ModelTypeRegistry registry;
  registry.add("kimi_k2", maker(4));
  EXPECT_EQ(registry.model_types(), std::vector<std::string>{"deepseek_v3"});
  EXPECT_EQ(made_by(registry, "deepseek_v3"), 4);
  EXPECT_EQ(made_by(registry, "joyai_llm_flash"), 4);
}

TEST(Registry, gives_back_the_constructor_that_another_displaced) {
  ModelTypeRegistry registry;
  registry.add("llama", maker(1));
  auto first = registry.add("mistral", maker(2));
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ((*first)(checkpoint("llama"))->vocab_size(), 1);
  EXPECT_EQ(made_by(registry, "llama"), 2);
  auto second = registry.add("llama", std::move(*first));
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ((*second)(checkpoint("llama"))->vocab_size(), 2);
  EXPECT_EQ(made_by(registry, "llama"), 1);
}

TEST(Registry, can_be_built_in_one_expression) {
  auto registry = ModelTypeRegistry().with("b", maker(1)).with("a", maker(2)).with("b", maker(3));
  EXPECT_EQ(registry.model_types(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(made_by(registry, "a"), 2);
  EXPECT_EQ(made_by(registry, "b"), 3);
}

TEST(Registry, hands_the_constructor_what_was_loaded) {
  ModelTypeRegistry registry;
  const LoadedModel* seen = nullptr;
  registry.add("a", [&](const LoadedModel& loaded) {
    seen = &loaded;
    return maker(1)(loaded);
  });
  auto loaded = checkpoint("a");
  registry.create(loaded);
  EXPECT_EQ(seen, &loaded);
}

TEST(Registry, refuses_by_the_id_that_the_checkpoint_has) {
  auto registry = ModelTypeRegistry().with("qwen3", maker(1));
  auto message = refusal(registry, "mistral");
  EXPECT_TRUE(message.starts_with("model_type: not supported; expected qwen3, found \"mistral\""))
      << message;
  EXPECT_EQ(message.find("llama"), message.npos);
  EXPECT_EQ(test::message_of<UnsupportedError>([&] { registry.require("mistral"); }), message);
}

TEST(Registry, names_near_ids_when_it_refuses) {
  auto registry = ModelTypeRegistry()
                      .with("qwen2", maker(1))
                      .with("qwen2_moe", maker(1))
                      .with("gemma3", maker(1))
                      .with("llama", maker(1))
                      .with("phi3", maker(1))
                      .with("mamba", maker(1))
                      .with("olmo", maker(1));
  auto near = [&](const std::string& id) {
    auto message = refusal(registry, id);
    std::string expected = "model_type: not supported; expected a supported one, such as ";
    if (!message.starts_with(expected)) return std::string();
    return message.substr(expected.size(), message.find(", found") - expected.size());
  };
  EXPECT_EQ(near("qwen3"), "qwen2, qwen2_moe");  // the same beginning
  EXPECT_EQ(near("lama"), "llama, mamba");       // a letter or two
  EXPECT_EQ(near("lmama"), "llama, mamba");
  EXPECT_EQ(near("mistrel"), "mistral");  // which llama serves
  EXPECT_EQ(near("kimi_k3"), "");         // nobody serves kimi_k2 here
  EXPECT_EQ(near("gema2"), "gemma3");
  EXPECT_EQ(near("phi"), "phi3");
  EXPECT_EQ(near("bert"), "");
  EXPECT_EQ(near(std::string(100000, 'q')), "");
  EXPECT_EQ(near(""), "");
}

TEST(Registry, is_unchanged_when_a_constructor_fails) {
  ModelTypeRegistry registry;
  int calls = 0;
  registry.add("a", [&](const LoadedModel& loaded) {
    if (++calls == 1) throw WeightError("planted");
    return maker(5)(loaded);
  });
  EXPECT_THROW(registry.create(checkpoint("a")), WeightError);
  EXPECT_EQ(made_by(registry, "a"), 5);
}

TEST(Registry, may_be_asked_from_several_threads) {
  auto registry = ModelTypeRegistry().with("a", maker(5));
  std::vector<int> made(4);
  std::vector<std::thread> threads;
  for (int& n : made)
    threads.emplace_back([&registry, &n] {
      for (int i = 0; i < 200; ++i) n += made_by(registry, "a");
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(made, std::vector<int>(4, 1000));
}

/// Every tensor that a small llama asks for, and its config.
LoadedModel small_llama() {
  LoadedModel loaded;
  loaded.config_json = R"({"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1,
      "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1,
      "vocab_size": 10, "tie_word_embeddings": true})";
  loaded.config = parse_config(loaded.config_json);
  std::string layer = "model.layers.0.";
  for (auto& [name, shape] :
       std::map<std::string, mx::Shape>{{"model.embed_tokens.weight", {10, 8}},
                                        {"model.norm.weight", {8}},
                                        {layer + "input_layernorm.weight", {8}},
                                        {layer + "post_attention_layernorm.weight", {8}},
                                        {layer + "self_attn.q_proj.weight", {8, 8}},
                                        {layer + "self_attn.k_proj.weight", {4, 8}},
                                        {layer + "self_attn.v_proj.weight", {4, 8}},
                                        {layer + "self_attn.o_proj.weight", {8, 8}},
                                        {layer + "mlp.gate_proj.weight", {16, 8}},
                                        {layer + "mlp.up_proj.weight", {16, 8}},
                                        {layer + "mlp.down_proj.weight", {8, 16}}}) {
    loaded.weights.emplace(name, mx::zeros(shape));
    mx::eval(loaded.weights.at(name));
  }
  return loaded;
}

TEST(Registry, makes_models_in_several_threads_at_once_from_what_was_loaded_once) {
  ModelTypeRegistry registry;
  add_models(registry);
  const auto loaded = small_llama();
  std::vector<std::shared_ptr<const LanguageModel>> made(4);
  std::vector<std::thread> threads;
  for (auto& model : made)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) model = registry.create(loaded);
    });
  for (auto& t : threads) t.join();
  for (auto& model : made) EXPECT_EQ(model->manifest().params.size(), loaded.weights.size());
}

TEST(AddModels, has_the_architectures_of_this_room) {
  ModelTypeRegistry registry;
  add_models(registry);
  EXPECT_TRUE(registry.contains("llama"));
  for (auto& type : registry.model_types()) EXPECT_EQ(remap_model_type(type), type);
}

TEST(AddModels, keeps_what_was_added_before_under_other_ids) {
  auto registry = ModelTypeRegistry().with("mine", maker(7)).with("llama", maker(8));
  add_models(registry);
  EXPECT_EQ(made_by(registry, "mine"), 7);
  EXPECT_THROW(made_by(registry, "llama"), Error);  // ours now, and it wants a config
}

}  // namespace
}  // namespace mlxcpp::lm
