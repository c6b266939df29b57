// A Llama with name-seeded weights, of the config that a golden cache was made with.
#pragma once

#include "mlxcpp/io/fields.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/loaded_model.h"
#include "mlxcpp/lm/model.h"
#include "tests/support/golden.h"

#include <map>
#include <memory>
#include <optional>
#include <string>

namespace mlxcpp::test {

inline std::map<std::string, array> llama_weights(io::Fields config) {
  int layers, dim, hidden, vocab, heads, kv_heads;
  config.need("num_hidden_layers", &layers)
      .need("hidden_size", &dim)
      .need("intermediate_size", &hidden)
      .need("vocab_size", &vocab)
      .need("num_attention_heads", &heads)
      .need("num_key_value_heads", &kv_heads);
  std::optional<int> given;
  config.may("head_dim", &given);
  int d = given.value_or(dim / heads);
  std::map<std::string, array> weights;
  auto add = [&](const std::string& name, mx::Shape shape) {
    weights.emplace(name + ".weight", seeded_tensor(name + ".weight", shape));
  };
  add("model.embed_tokens", {vocab, dim});
  add("model.norm", {dim});
  add("lm_head", {vocab, dim});
  for (int i = 0; i < layers; ++i) {
    std::string at = "model.layers." + std::to_string(i) + ".";
    add(at + "input_layernorm", {dim});
    add(at + "post_attention_layernorm", {dim});
    add(at + "self_attn.q_proj", {heads * d, dim});
    for (auto name : {"self_attn.k_proj", "self_attn.v_proj"}) add(at + name, {kv_heads * d, dim});
    add(at + "self_attn.o_proj", {dim, heads * d});
    for (auto name : {"mlp.gate_proj", "mlp.up_proj"}) add(at + name, {hidden, dim});
    add(at + "mlp.down_proj", {dim, hidden});
  }
  return weights;
}

inline std::unique_ptr<lm::LanguageModel> make_tiny_llama(const std::string& config) {
  lm::ModelTypeRegistry registry;
  lm::add_models(registry);
  return registry.create(
      {lm::parse_config(config), config, llama_weights(io::Fields::parse(config)), {}});
}

}  // namespace mlxcpp::test
