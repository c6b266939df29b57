// What adapter folders get that are not right.
#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/adapters.h"
#include "tests/support/adapter_golden.h"
#include "tests/support/errors.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::AdapterGolden;
using test::message_of;
using test::TempDir;
using Tensors = std::unordered_map<std::string, array>;

/// What reading and resolving say after the config (keys by JSON pointer) and the tensors changed.
class Refusals {
 public:
  explicit Refusals(const std::string& name) : a_(name), model_(test::load_row(a_.row())) {}

  std::string with(const json& changes, const std::function<void(Tensors&)>& edit = {}) const {
    auto config = json::parse(a_.golden.metadata.at("adapter_config"));
    for (auto& [key, value] : changes.items()) config[json::json_pointer(key)] = value;
    auto tensors = a_.tensors();
    if (edit) edit(tensors);
    TempDir dir;
    a_.write_parts(dir.path(), config.dump(), tensors);
    AdapterSet set(model_);
    auto message = message_of<Error>([&] { set.add("it", Adapter::read(dir.path())); });
    EXPECT_EQ(set.names().empty(), message != "no error");
    auto at = message.find(dir.path().string());
    if (at != message.npos) message.erase(at, dir.path().string().size());
    model_->adapter_use() = {};
    return message;
  }
  std::string without(const std::string& tensor) const {
    return with(json::object(), [&](Tensors& t) { EXPECT_EQ(t.erase(tensor), 1u); });
  }

  AdapterGolden a_;
  std::shared_ptr<const LanguageModel> model_;
};

const std::string kQ = "model.layers.1.self_attn.q_proj";

TEST(BadAdapter, of_mlx_lm_is_refused_by_what_is_wrong_with_its_config) {
  Refusals r("lora_keys");
  EXPECT_EQ(r.with(json::object()), "no error");
  EXPECT_EQ(r.with({{"/fine_tune_type", "full"}}),
            "/adapter_config.json.fine_tune_type: whole weights, not an adapter; expected lora or "
            "dora, found \"full\"");
  EXPECT_EQ(r.with({{"/fine_tune_type", "ia3"}}),
            "/adapter_config.json.fine_tune_type: unknown; expected lora or dora, found \"ia3\"");
  EXPECT_EQ(r.with({{"/lora_parameters/rank", 8}}),
            ": model.layers.0.self_attn.q_proj: another rank than the config says; expected 8, "
            "found 4 and 4");
  EXPECT_EQ(r.with({{"/lora_parameters/rank", 0}}),
            "/adapter_config.json.lora_parameters.rank: out of range; expected a positive number, "
            "found 0");
  EXPECT_EQ(r.with({{"/lora_parameters/scale", "big"}}),
            "/adapter_config.json.lora_parameters.scale: expected number, found string \"big\"");
  EXPECT_EQ(r.with({{"/fine_tune_type", "dora"}}),
            ": model.layers.0.self_attn.q_proj: no magnitudes");
  EXPECT_EQ(r.with({{"/num_layers", 1}}),
            ": model.layers.0.self_attn.q_proj: factors of a module that adapter_config.json does "
            "not select");
  EXPECT_EQ(r.with({{"/lora_parameters/keys", {"self_attn.q_proj"}}}),
            ": model.layers.0.self_attn.v_proj: factors of a module that adapter_config.json does "
            "not select");
  EXPECT_EQ(r.with({{"/lora_parameters/keys", {"q_proj", "v_proj", "mlp.up_proj"}}}),
            ": model.layers.0.mlp.up_proj: no factors of a module that adapter_config.json "
            "selects");
}

TEST(BadAdapter, scales_by_alpha_over_rank_where_there_is_an_alpha) {
  auto config = [](const std::string& text) {
    return AdapterConfig::read(io::Fields::parse(text, "c"));
  };
  EXPECT_EQ(config("{}").scale("x"), 20);
  EXPECT_EQ(config("{}").rank("x"), 8);
  EXPECT_EQ(config(R"({"lora_parameters": {"rank": 4, "scale": 3}})").scale("x"), 3);
  EXPECT_EQ(config(R"({"lora_parameters": {"rank": 4, "scale": 3, "alpha": 8}})").scale("x"), 2);
  EXPECT_EQ(config(R"({"peft_type": "LORA", "r": 4})").scale("x"), 2);  // lora_alpha: 8
  EXPECT_EQ(config(R"({"r": 16, "lora_alpha": 8, "use_rslora": true})").scale("x"), 2);
}

TEST(BadAdapter, of_peft_is_refused_when_it_does_more_than_low_rank_products) {
  Refusals r("peft");
  EXPECT_EQ(r.with(json::object()), "no error");
  struct Case {
    const char* key;
    json value;
  };
  const Case cases[] = {{"peft_type", "IA3"},
                        {"bias", "all"},
                        {"lora_bias", true},
                        {"modules_to_save", {"lm_head"}},
                        {"use_qalora", true},
                        {"alora_invocation_tokens", {1, 2}},
                        {"velora_config", {{"a", 1}}},
                        {"monteclora_config", {{"a", 1}}},
                        {"trainable_token_indices", {3}},
                        {"target_parameters", {"mlp.experts.gate_up_proj"}},
                        {"layer_replication", {{0, 1}}},
                        {"init_lora_weights", "pissa"},
                        {"init_lora_weights", "loftq"},
                        {"something_new", 3}};
  for (auto& [key, value] : cases) {
    auto message = r.with({{std::string("/") + key, value}});
    EXPECT_TRUE(message.starts_with("/adapter_config.json." + std::string(key) + ": ")) << message;
  }
  for (auto& value : {json("gaussian"), json("eva"), json(false)})
    EXPECT_EQ(r.with({{"/init_lora_weights", value}}), "no error");
  EXPECT_EQ(r.with({{"/something_new", json::array()}, {"/eva_config", {{"rho", 2.0}}}}),
            "no error");
}

TEST(BadAdapter, of_peft_is_refused_by_modules_that_do_not_agree_with_its_config) {
  Refusals r("peft");
  auto not_selected = [](const std::string& module) {
    return ": " + module + ": factors of a module that adapter_config.json does not select";
  };
  const std::string first = "model.layers.0.";
  EXPECT_EQ(r.with({{"/target_modules", {"q_proj"}}}), not_selected(first + "mlp.down_proj"));
  EXPECT_EQ(r.with({{"/target_modules", "model.*q_proj"}}), not_selected(first + "mlp.down_proj"));
  EXPECT_EQ(r.with({{"/exclude_modules", {"down_proj"}}}), not_selected(first + "mlp.down_proj"));
  EXPECT_EQ(r.with({{"/layers_to_transform", {1}}}), not_selected(first + "mlp.down_proj"));
  EXPECT_EQ(r.with({{"/layers_to_transform", {0, 1}}, {"/layers_pattern", "layers"}}), "no error");
  EXPECT_EQ(r.with({{"/layers_to_transform", {0, 1}}, {"/layers_pattern", "blocks"}}),
            not_selected(first + "mlp.down_proj"));
  EXPECT_EQ(r.with({{"/target_modules", "All-Linear"}}), "no error");
  EXPECT_EQ(r.with({{"/target_modules", {"q_proj", "down_proj", "k_proj"}}}),
            ": " + first +
                "self_attn.k_proj: no factors of a module that adapter_config.json "
                "selects");
  EXPECT_EQ(r.with({{"/target_modules", "(unclosed"}}),
            "/adapter_config.json.target_modules: regular expression not understood; expected "
            "what ECMAScript has, without references back, found (unclosed");
  EXPECT_EQ(r.with({{"/rank_pattern", {{"q_proj", 2}, {"self_attn.q_proj", 4}}}}),
            "/adapter_config.json.rank_pattern: several patterns with other numbers match; "
            "expected model.layers.0.self_attn.q_proj");
  EXPECT_EQ(r.with({{"/rank_pattern", {{"q_proj", 0}}}}),
            "/adapter_config.json.rank_pattern.q_proj: out of range; expected a positive number, "
            "found 0.000000");
}

TEST(BadAdapter, with_an_expression_of_exponential_time_is_answered_at_once) {
  std::string path = std::string(40, 'a') + "!";
  EXPECT_FALSE(PathPattern("(a+)+", "x").matches(path));
  EXPECT_EQ(message_of<UnsupportedError>([] { PathPattern(std::string(1001, 'a'), "x"); }),
            "x: regular expression too long; expected at most 1000 bytes, found 1001");
}

TEST(BadAdapter, with_half_a_product_or_other_tensors_is_refused) {
  Refusals native("lora_keys"), peft("peft"), dora("dora");
  EXPECT_EQ(native.without(kQ + ".lora_b"),
            ": " + kQ + ": half a product; expected both factors, found only the first");
  EXPECT_EQ(native.without(kQ + ".lora_a"),
            ": " + kQ + ": half a product; expected both factors, found only the second");
  EXPECT_EQ(dora.without("model.layers.1.mlp.up_proj.m"),
            ": model.layers.1.mlp.up_proj: no magnitudes");
  auto add = [](const std::string& name, const array& value) {
    return [=](Tensors& t) { t.insert_or_assign(name, value); };
  };
  EXPECT_EQ(native.with({}, add(kQ + ".weight", array(1.f))),
            "/adapters.safetensors: " + kQ + ".weight: not a tensor of an adapter");
  EXPECT_EQ(native.with({}, add(kQ + ".m", mx::ones({64}))),
            ": " + kQ + ": magnitudes without DoRA in the config");
  EXPECT_EQ(peft.with({}, add("base_model.model.model.embed_tokens.lora_embedding_A", array(1.f))),
            "/adapter_model.safetensors: base_model.model.model.embed_tokens.lora_embedding_A: "
            "PEFT's adapters of embeddings are not supported");
  EXPECT_EQ(peft.with({}, add("base_model.model." + kQ + ".lora_B.bias", array(1.f))),
            "/adapter_model.safetensors: base_model.model." + kQ +
                ".lora_B.bias: not a tensor of an adapter");
  EXPECT_EQ(native.with({}, [](Tensors& t) { t.clear(), t.emplace("x.lora_a", array(1.f)); }),
            ": x: half a product; expected both factors, found only the first");
}

TEST(BadAdapter, for_another_shape_is_refused_with_both_shapes) {
  Refusals r("lora_keys"), experts("lora_experts");
  auto set = [](const std::string& name, const mx::Shape& shape, mx::Dtype dtype = mx::float32) {
    return [=](Tensors& t) { t.insert_or_assign(name, mx::zeros(shape, dtype)); };
  };
  EXPECT_EQ(r.with({}, set(kQ + ".lora_a", {32, 4})),
            ": " + kQ +
                ": factors for a weight of another shape; expected (64, 64), found (64, 4) "
                "times (4, 32)");
  EXPECT_EQ(r.with({}, set(kQ + ".lora_b", {4, 32})),
            ": " + kQ +
                ": factors for a weight of another shape; expected (64, 64), found (32, 4) "
                "times (4, 64)");
  EXPECT_EQ(r.with({}, set(kQ + ".lora_b", {4})),
            ": " + kQ +
                ": wrong shape; expected two factors with two or three axes, found (64, 4) "
                "and (4)");
  EXPECT_EQ(r.with({}, set(kQ + ".lora_b", {4, 64}, mx::int32)),
            ": " + kQ + ": wrong dtype; expected floating point");
  std::string up = "model.layers.1.mlp.switch_mlp.up_proj";
  auto shape = experts.a_.tensors().at(up + ".lora_a").shape();
  ++shape[0];
  EXPECT_TRUE(experts.with({}, set(up + ".lora_a", shape))
                  .starts_with(": " + up + ": factors for a weight of another shape"));
}

TEST(BadAdapter, for_another_model_names_the_module_and_a_near_one) {
  Refusals r("lora_keys");
  auto rename = [](const std::string& from, const std::string& to) {
    return [=](Tensors& t) {
      for (std::string half : {".lora_a", ".lora_b"}) {
        t.emplace(to + half, t.at(from + half));
        t.erase(from + half);
      }
    };
  };
  EXPECT_EQ(r.with({}, rename(kQ, "model.layers.1.self_attn.q_prj")),
            ": model.layers.1.self_attn.q_prj: no such projection in the model; expected one that "
            "the model has, such as " +
                kQ);
}

TEST(BadAdapter, folder_without_its_files_is_an_io_error) {
  AdapterGolden a("lora_keys");
  TempDir dir;
  auto read = [&] { return message_of<IoError>([&] { Adapter::read(dir.path()); }); };
  EXPECT_EQ(read(), (dir.path() / "adapter_config.json").string() + ": no such file");
  a.write(dir.path());
  fs::rename(dir.path() / "adapters.safetensors", dir.path() / "adapter_model.safetensors");
  EXPECT_EQ(read(), "no error");  // the other name will do
  fs::remove(dir.path() / "adapter_model.safetensors");
  EXPECT_EQ(read(),
            dir.path().string() +
                ": no weights of an adapter; expected adapters.safetensors or "
                "adapter_model.safetensors, found neither");
  fs::create_directory(dir.path() / "adapters.safetensors");
  EXPECT_EQ(
      read(),
      (dir.path() / "adapters.safetensors").string() + ": cannot be used; expected a regular file");
  fs::remove(dir.path() / "adapters.safetensors");
  std::ofstream(dir.path() / "adapters.safetensors") << "not safetensors";
  EXPECT_NE(message_of<WeightError>([&] { Adapter::read(dir.path()); }), "no error");
  std::ofstream(dir.path() / "adapter_config.json") << "{\"r\": ";
  EXPECT_NE(message_of<ConfigError>([&] { Adapter::read(dir.path()); }), "no error");
}

}  // namespace
}  // namespace mlxcpp::lm
