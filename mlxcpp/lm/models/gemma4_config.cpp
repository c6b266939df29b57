#include "mlxcpp/lm/models/gemma4_config.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"

#include <charconv>
#include <climits>
#include <string>

namespace mlxcpp::lm {
namespace {

/// "7", or padded as transformers writes it: "07".
int layer_of(const std::string& key, const std::string& where, int layers) {
  int layer = -1;
  const char* end = key.data() + key.size();
  if (std::from_chars(key.data(), end, layer).ptr != end) layer = -1;
  io::require_in_range(where, layer, 0, layers - 1);
  return layer;
}

}  // namespace

void Gemma4Config::Moe::fields(io::Fields& f) {
  f.need("num_experts", &num_experts)
      .need("top_k_experts", &top_k_experts)
      .need("moe_intermediate_size", &moe_intermediate_size);
  io::require_positive(f.where("num_experts"), num_experts);
  io::require_in_range(f.where("top_k_experts"), top_k_experts, 1, num_experts);
  io::require_positive(f.where("moe_intermediate_size"), moe_intermediate_size);
  io::require_product(f.where("moe_intermediate_size"), 2, moe_intermediate_size);
}

void Gemma4Config::Heads::fields(io::Fields& f) {
  f.may("head_dim", &head_dim).may("num_key_value_heads", &num_key_value_heads);
  for (auto& key : f.keys())
    if (key != "head_dim" && key != "num_key_value_heads")
      throw UnsupportedError(describe(
          f.where(key), "not supported for a single layer", "head_dim or num_key_value_heads"));
}

void Gemma4Config::fields(io::Fields& f) {
  std::string model_type, hidden_activation = "gelu_pytorch_tanh", bidirectional = "vision";
  bool enable_moe_block = false;
  f.may("model_type", &model_type);
  if (model_type == "gemma4_unified_text") {
    hidden_size_per_layer_input = 0;
    sliding.sliding_window = 1024;
    ropes.max_position_embeddings = 262144;
  }
  shape.fields(f);
  ropes.fields(f);
  sliding.fields(f, shape.num_hidden_layers);
  sharing.fields(f, shape.num_hidden_layers);
  f.may("vocab_size_per_layer_input", &vocab_size_per_layer_input)
      .may("hidden_size_per_layer_input", &hidden_size_per_layer_input)
      .may("attention_bias", &attention_bias)
      .may("attention_k_eq_v", &attention_k_eq_v)
      .may("use_double_wide_mlp", &use_double_wide_mlp)
      .may("enable_moe_block", &enable_moe_block)
      .may("use_bidirectional_attention", &bidirectional)
      .may("rms_norm_eps", &rms_norm_eps)
      .may("final_logit_softcapping", &final_logit_softcapping)
      .may("tie_word_embeddings", &tie_word_embeddings)
      .may("hidden_activation", &hidden_activation);
  if (enable_moe_block) moe.emplace().fields(f);
  activation = nn::activation_named(hidden_activation, f.where("hidden_activation"));
  if (bidirectional != "vision")  // of images only: those come as spans
    throw UnsupportedError(describe(f.where("use_bidirectional_attention"),
                                    "attention of text to what follows is not supported",
                                    "vision",
                                    bidirectional));
  read_heads(f);
  check(f);
}

void Gemma4Config::read_heads(io::Fields& f) {
  int heads = shape.num_attention_heads;
  auto checked = [&](const io::Fields& g, const char* dim, const char* kv, const Heads& h) {
    io::require_positive(g.where(dim), h.head_dim);
    io::require_product(g.where(dim), heads, h.head_dim);
    io::require_positive(g.where(kv), h.num_key_value_heads);
    io::require_divisible(f.where("num_attention_heads"), heads, kv, h.num_key_value_heads);
    return h;
  };
  if (auto table = f.object("per_layer_config")) {
    own_heads_.emplace();
    for (auto& key : table->keys()) {
      auto own = table->need_object(key);
      Heads h{shape.head_size(), shape.kv_heads()};
      h.fields(own);
      own_heads_->insert_or_assign(layer_of(key, own.where(), shape.num_hidden_layers),
                                   checked(own, "head_dim", "num_key_value_heads", h));
    }
    return;
  }
  full_heads_.num_key_value_heads = shape.kv_heads();
  f.may("global_head_dim", &full_heads_.head_dim);
  if (attention_k_eq_v) f.may("num_global_key_value_heads", &full_heads_.num_key_value_heads);
  checked(f, "global_head_dim", "num_global_key_value_heads", full_heads_);
}

void Gemma4Config::check(const io::Fields& f) const {
  auto size = f.where("hidden_size_per_layer_input");
  io::require_in_range(size, hidden_size_per_layer_input, 0, INT_MAX);
  io::require_product(size, shape.num_hidden_layers, hidden_size_per_layer_input);
  io::require_positive(f.where("vocab_size_per_layer_input"), vocab_size_per_layer_input);
  if (use_double_wide_mlp)
    io::require_product(f.where("intermediate_size"), 2, shape.intermediate_size);
  if (final_logit_softcapping)
    io::require_positive(f.where("final_logit_softcapping"), *final_logit_softcapping);
}

/// The last layer has no window, whatever layer_types says.
bool Gemma4Config::slides(int layer) const {
  return layer + 1 < shape.num_hidden_layers && sliding.slides(layer);
}

Gemma4Config::Heads Gemma4Config::heads(int layer) const {
  Heads usual{shape.head_size(), shape.kv_heads()};
  if (!own_heads_) return slides(layer) ? usual : full_heads_;
  auto own = own_heads_->find(layer);
  return own == own_heads_->end() ? usual : own->second;
}

nn::AttentionShape Gemma4Config::attention(int layer) const {
  auto attention = shape.attention();
  attention.head_dim = heads(layer).head_dim;
  attention.kv_heads = heads(layer).num_key_value_heads;
  attention.bias = attention.out_bias = attention_bias;
  attention.qk_norm = rms_norm_eps;
  attention.scale = 1;
  if (slides(layer)) attention.window = *sliding.sliding_window;
  return attention;
}

ops::Rope Gemma4Config::rope(int layer) const {
  return ropes.make(slides(layer), heads(layer).head_dim);
}

nn::KeySource Gemma4Config::keys(int layer) const {
  int owner = sharing.owner(layer, [this](int i) { return slides(i); });
  if (heads(owner).head_dim != heads(layer).head_dim)
    throw ConfigError(describe(
        sharing.where,
        "layer " + std::to_string(layer) + " can not read keys of layer " + std::to_string(owner),
        "head_dim " + std::to_string(heads(layer).head_dim),
        std::to_string(heads(owner).head_dim)));
  return {.layer = layer, .owner = owner, .as_values = attention_k_eq_v && !slides(layer)};
}

int Gemma4Config::mlp_width(int layer) const {
  bool wide = use_double_wide_mlp && sharing.reads(layer);
  return wide ? 2 * shape.intermediate_size : shape.intermediate_size;
}

nn::LayerInputShape Gemma4Config::layer_inputs() const {
  return {.vocab = vocab_size_per_layer_input,
          .layers = shape.num_hidden_layers,
          .size = hidden_size_per_layer_input,
          .dim = shape.hidden_size,
          .eps = rms_norm_eps};
}

}  // namespace mlxcpp::lm
