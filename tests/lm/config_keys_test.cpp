// Every key that a model reads from its config matters to some golden: another value there gives
// other logits, or a named error.  A key that nothing notices would be a key without a test.
#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/nn/checkpoint.h"
#include "mlxcpp/ops/device.h"
#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <iostream>
#include <set>
#include <stdexcept>

namespace mlxcpp::lm {
namespace {

using nlohmann::json;
using test::Golden;

/// Keys whose value changes no logits, and why.
const std::map<std::string, std::string> kWithoutEffect = {};

/// What to try where a key is absent, or its value gives no idea of another.
const std::map<std::string, std::vector<json>> kOthers = {
    {"attention_factor", {1.5}},
    {"beta_fast", {4.0}},
    {"beta_slow", {0.25}},
    {"factor", {3.0}},
    {"head_dim", {8}},
    {"hidden_act", {"gelu", "silu"}},
    {"high_freq_factor", {2.0}},
    {"hybrid_override_pattern", {"*M"}},
    {"intermediate_size", {0}},
    {"low_freq_factor", {0.5}},
    {"mamba_hidden_act", {"gelu"}},
    {"max_window_layers", {0}},
    {"mlp_hidden_act", {"silu"}},
    {"model_type", {"mistral", "llama"}},
    {"mscale", {1.3}},
    {"mscale_all_dim", {1.3}},
    {"num_key_value_heads", {1}},
    {"original_max_position_embeddings", {8, 400}},
    {"partial_rotary_factor", {0.5}},
    {"rms_norm_eps", {0.3}},
    {"rope_parameters",
     {{{"rope_type", "linear"}, {"factor", 2.0}},
      {{"full_attention", {{"rope_type", "linear"}, {"factor", 2.0}}}}}},
    {"rope_scaling", {{{"rope_type", "linear"}, {"factor", 2.0}}}},
    {"rope_theta", {77.0}},
    {"rope_type", {"linear", "default"}},
    {"short_factor", {{2, 2, 2, 2, 2, 2, 2, 2}}},
    {"long_factor", {{2, 2, 2, 2, 2, 2, 2, 2}}},
    {"layer_types", {{"sliding_attention", "full_attention"}}},
    {"tie_word_embeddings", {true, false}},
    {"truncate", {true, false}},
    {"rope_traditional", {true, false}},
    {"scoring_func", {"softmax"}},
    {"attention_bias", {true}},
    {"mlp_bias", {true}},
    {"use_sliding_window", {true}},
    {"sliding_window", {3}},
    {"topk_method", {"greedy"}},
    {"type", {"linear", "default"}},
    {"mlp_only_layers", {{0}}},
    {"moe_layers", {{0}}},
    {"mlp_layer_types", {{"dense", "sparse", "dense"}}},
    {"norm_topk_prob", {true}},
    {"final_logit_softcapping", {5.0}},
    {"full_attention", {{{"rope_type", "linear"}, {"factor", 2.0}}}},
    {"hidden_activation", {"gelu", "silu"}},
    {"index_topk_pattern", {"FSS", "FSFF"}},
    {"indexer_rope_interleave", {true, false}},
    {"indexer_types", {{"full", "shared", "full"}}},
    {"num_attention_heads", {16}},
    {"per_layer_config", {json::object()}},
    {"query_pre_attn_scalar", {8}},
    {"rope_local_base_freq", {77.0}},
    {"sliding_attention", {{{"rope_type", "linear"}, {"factor", 2.0}}}},
    {"sliding_window_pattern", {3}},
    {"use_bidirectional_attention", {true}},
    {"vocab_size", {64}},
};

/// Other values for a key, given what it holds (null: nothing).
std::vector<json> others(const std::string& key, const json& value) {
  std::vector<json> all;
  if (value.is_boolean()) all = {!value.get<bool>()};
  if (value.is_number_integer()) all = {value.get<int>() + 1, value.get<int>() * 2, 3};
  if (value.is_number_float()) all = {value.get<double>() * 2, value.get<double>() / 2};
  if (value.is_object()) all = {json::object()};
  if (value.is_array()) {
    json reversed = json::array(), changed = value;
    for (auto& item : value) reversed.insert(reversed.begin(), item);
    for (auto& item : changed)
      if (item.is_number()) item = item.get<double>() * 2;
    all = {reversed, changed, json::array({"full_attention"})};
  }
  auto more = kOthers.find(key.substr(key.rfind('.') + 1));
  if (more != kOthers.end()) all.insert(all.end(), more->second.begin(), more->second.end());
  std::erase(all, value);
  return all;
}

json::json_pointer pointer(std::string path) {
  std::ranges::replace(path, '.', '/');
  return json::json_pointer("/" + path);
}

struct Row {
  std::string name;
  Golden golden;
  json config;
  std::map<std::string, array> weights;
};

/// The rows of each architecture.  Other kinds of files hold the same configs again.
const std::map<std::string, std::vector<Row>>& all_rows() {
  static const auto rows = [] {
    std::map<std::string, std::vector<Row>> all;
    for (auto& file : test::golden_files()) {
      std::string name = file.stem().string();
      auto is = [&](const char* kind) { return name.find(kind) != name.npos; };
      if (is("_gguf_") || is("_foreign_") || is("_npz")) continue;
      Row row{name, Golden::read(file), {}, {}};
      row.config = json::parse(row.golden.metadata.at("config"));
      test::TempDir dir;
      test::write_model(dir.path(), file);
      row.weights = nn::load_safetensors(io::find_weight_files(dir.path()));
      for (auto& [tensor, value] : row.weights) value.eval();
      auto type = row.config.at("model_type").get<std::string>();
      all[std::string(remap_model_type(type))].push_back(std::move(row));
    }
    return all;
  }();
  return rows;
}

/// How far the logits are from the golden's; infinity when the model is refused.
float distance(const Row& row, const json& config, std::vector<std::string>* asked = nullptr) {
  try {
    LoadedModel loaded{
        .config = {}, .config_json = config.dump(), .weights = row.weights, .quantization = {}};
    loaded.config = parse_config(loaded.config_json);
    auto fields = io::Fields::parse(loaded.config_json);
    loaded.quantization = nn::Quantization::read(fields);
    std::string type(remap_model_type(loaded.config.model_type));
    auto make = find_model(type);
    if (!make) throw std::logic_error(type + ": a golden of a model that is not registered");
    if (asked) {
      auto own = io::Fields::parse(loaded.config_json);
      nn::WeightMap weights{row.weights, loaded.quantization, {}};
      make(own, weights);
      *asked = own.asked();
    }
    auto model = lm::bind(loaded, make);
    auto caches = model->make_caches();
    return test::relative_difference(test::forward(*model, caches, row.golden.ids("ids")),
                                     row.golden.at("logits"));
  } catch (const Error&) {
    return INFINITY;
  }
}

std::string witness(const std::vector<Row>& rows, const std::string& key, bool refused_is_enough) {
  auto at = pointer(key);
  for (auto& row : rows) {
    bool nested = key.find('.') != key.npos;
    if (nested && !row.config.contains(at.parent_pointer())) continue;
    json value = row.config.contains(at) ? row.config.at(at) : json();
    for (auto& other : others(key, value)) {
      json config = row.config;
      config[at] = other;
      float d = distance(row, config);
      if (d > 1e-3f && (refused_is_enough || std::isfinite(d)))
        return row.name + ": " + value.dump() + " -> " + other.dump() + " " +
               (std::isfinite(d) ? "moves the logits by " + std::to_string(d) : "is refused");
    }
  }
  return "";
}

/// A row and a value that show what a key does; empty when nothing does.  Logits that move say more
/// than a refusal (of another extent, say).
std::string witness(const std::string& architecture, const std::string& key) {
  auto& rows = all_rows().at(architecture);
  for (bool refused_is_enough : {false, true}) {
    std::string found = witness(rows, key, refused_is_enough);
    if (!found.empty()) return found;
  }
  // The inside of both spellings is read by the same lines for all architectures.
  for (std::string spelling : {"rope_scaling", "rope_parameters"}) {
    auto at = key.find(spelling + ".");
    if (at == key.npos) continue;
    for (std::string other : {"rope_scaling", "rope_parameters"}) {
      auto leaf = key.substr(key.rfind('.'));
      if (auto found = witness(all_rows().at("llama"), other + leaf, false); !found.empty())
        return found;
    }
  }
  return "";
}

class ConfigKeys : public testing::TestWithParam<std::string> {};

TEST_P(ConfigKeys, that_are_read_each_change_a_golden) {
  auto& rows = all_rows().at(GetParam());
  std::set<std::string> keys;
  for (auto& row : rows) {
    std::vector<std::string> asked;
    // Our kernels round activations to 16 bits before they meet packed weights.
    ASSERT_LT(distance(row, row.config, &asked), ops::own_kernels() ? 1e-3f : 1e-4f) << row.name;
    keys.insert(asked.begin(), asked.end());
  }
  for (auto& key : keys) {
    if (kWithoutEffect.count(key) || key == "text_config") continue;
    std::string seen = witness(GetParam(), key);
    EXPECT_NE(seen, "") << key << ": no golden notices another value";
    std::cout << "  " << key << ": " << seen << "\n";
  }
}

std::vector<std::string> architectures() {
  std::vector<std::string> names;
  for (auto& file : test::golden_files()) {
    std::string type;
    io::Fields::parse(Golden::read(file).metadata.at("config")).need("model_type", &type);
    names.emplace_back(remap_model_type(type));
  }
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Of, ConfigKeys, testing::ValuesIn(architectures()), [](auto& i) {
  return i.param;
});

}  // namespace
}  // namespace mlxcpp::lm
