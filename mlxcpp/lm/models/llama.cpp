// Llama and Mistral text decoders.
// Source: mlx-lm models/llama.py (0.32.2), transformers models/llama.  Differs: a head in the file
// is used when config does not say "tied"; rope as transformers has it (nn/rope.h); hidden_act is
// read.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/models/models.h"

namespace mlxcpp::lm {
namespace {

struct Config {
  int hidden_size, num_hidden_layers, intermediate_size, num_attention_heads, vocab_size;
  float rms_norm_eps = 1e-6f;
  std::optional<int> num_key_value_heads, head_dim, sliding_window,
      original_max_position_embeddings;
  std::optional<bool> tie_word_embeddings;
  int max_position_embeddings = 2048;
  float rope_theta = 10000, partial_rotary_factor = 1;
  bool attention_bias = false, mlp_bias = false, rope_traditional = false;
  std::string hidden_act = "silu", model_type;
  std::vector<std::string> layer_types;
  nn::RopeScaling rope_scaling;  // rope_parameters is its newer name

  void fields(io::Fields& f) {
    f.need("model_type", &model_type)
        .need("hidden_size", &hidden_size)
        .need("num_hidden_layers", &num_hidden_layers)
        .need("intermediate_size", &intermediate_size)
        .need("num_attention_heads", &num_attention_heads)
        .need("vocab_size", &vocab_size)
        .may("rms_norm_eps", &rms_norm_eps)
        .may("num_key_value_heads", &num_key_value_heads)
        .may("head_dim", &head_dim)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("max_position_embeddings", &max_position_embeddings)
        .may("original_max_position_embeddings", &original_max_position_embeddings)
        .may("sliding_window", &sliding_window)
        .may("rope_theta", &rope_theta)
        .may("partial_rotary_factor", &partial_rotary_factor)
        .may("attention_bias", &attention_bias)
        .may("mlp_bias", &mlp_bias)
        .may("rope_traditional", &rope_traditional)
        .may("hidden_act", &hidden_act)
        .may("layer_types", &layer_types)
        .may("rope_scaling", &rope_scaling)
        .may("rope_parameters", &rope_scaling);
    check(f);
  }

  void check(const io::Fields& f) const {
    for (auto [key, value] : {std::pair{"hidden_size", hidden_size},
                              {"num_hidden_layers", num_hidden_layers},
                              {"intermediate_size", intermediate_size},
                              {"num_attention_heads", num_attention_heads},
                              {"num_key_value_heads", kv_heads()},
                              {"vocab_size", vocab_size},
                              {"max_position_embeddings", max_position_embeddings}})
      io::require_positive(f.where(key), value);
    if (!head_dim)
      io::require_divisible(
          f.where("hidden_size"), hidden_size, "num_attention_heads", num_attention_heads);
    io::require_positive(f.where("head_dim"), head_size());
    io::require_product(f.where("head_dim"), num_attention_heads, head_size());
    io::require_divisible(
        f.where("num_attention_heads"), num_attention_heads, "num_key_value_heads", kv_heads());
    if (!(rotated_part() > 0 && rotated_part() <= 1))
      throw ConfigError(describe(f.where("partial_rotary_factor"),
                                 "out of range",
                                 "above 0, at most 1",
                                 std::to_string(rotated_part())));
    if (!layer_types.empty() && int(layer_types.size()) != num_hidden_layers)
      throw ConfigError(describe(f.where("layer_types"),
                                 "wrong length",
                                 std::to_string(num_hidden_layers),
                                 std::to_string(layer_types.size())));
    for (auto& type : layer_types)
      if (type != "full_attention" && type != "sliding_attention")
        throw ConfigError(describe(
            f.where("layer_types"), "unknown type", "full_attention or sliding_attention", type));
      else if (type == "sliding_attention")
        io::require_positive(f.where("sliding_window"), sliding_window.value_or(0));
  }

  int kv_heads() const { return num_key_value_heads.value_or(num_attention_heads); }
  int head_size() const { return head_dim.value_or(hidden_size / num_attention_heads); }
  float rotated_part() const {
    return rope_scaling.partial_rotary_factor.value_or(partial_rotary_factor);
  }
  nn::AttentionShape attention(int layer) const {
    // Mistral has no layer_types: there a window is every layer's, as in transformers.
    bool slides = layer_types.empty() ? model_type == "mistral" && sliding_window
                                      : layer_types[layer] == "sliding_attention";
    return {.dim = hidden_size,
            .heads = num_attention_heads,
            .kv_heads = kv_heads(),
            .head_dim = head_size(),
            .bias = attention_bias,
            .out_bias = attention_bias,
            .window = slides ? *sliding_window : 0};
  }
  ops::Rope rope() const {
    return nn::make_rope({.dims = int(head_size() * rotated_part()),
                          .base = rope_scaling.rope_theta.value_or(rope_theta),
                          .traditional = rope_traditional,
                          .max_positions = max_position_embeddings,
                          .original_max_positions = original_max_position_embeddings},
                         rope_scaling);
  }
  ops::Activation activation() const {
    if (auto a = ops::activation_of(hidden_act)) return *a;
    throw UnsupportedError(describe("config.hidden_act",
                                    "activation not supported",
                                    "silu, gelu or gelu_pytorch_tanh",
                                    hidden_act));
  }
};

nn::Block make_block(const nn::AttentionShape& s,
                     const ops::Rope& rope,
                     const Config& c,
                     nn::Scope w) {
  return {{.pre_attn = nn::RmsNorm(w / "input_layernorm", s.dim, c.rms_norm_eps),
           .attn = nn::Attention(w / "self_attn", s, rope),
           .pre_mlp = nn::RmsNorm(w / "post_attention_layernorm", s.dim, c.rms_norm_eps),
           .mlp = nn::GatedMlp(w / "mlp", s.dim, c.intermediate_size, c.activation(), c.mlp_bias)}};
}

class Llama final : public LanguageModel {
 public:
  Llama(const Config& c, const ops::Rope& rope, nn::Scope w, bool tied)
      : decoder_{.embed = {w / "model" / "embed_tokens", c.vocab_size, c.hidden_size},
                 .layers = nn::build(c.num_hidden_layers,
                                     [&](int i) {
                                       return make_block(
                                           c.attention(i), rope, c, w / "model" / "layers" / i);
                                     }),
                 .norm = {w / "model" / "norm", c.hidden_size, c.rms_norm_eps}},
        head_(w / "lm_head", decoder_.embed, c.vocab_size, c.hidden_size, tied) {}

  array logits(const array& h) const override { return head_(h); }
  CacheLayout layout() const override { return decoder_.layout(); }
  int vocab_size() const override { return decoder_.embed.w->outputs(); }

 private:
  array run(const Input& in, const ops::Pass& pass) const override {
    return decoder_(embed(in, decoder_.embed), pass);
  }

  nn::Decoder<nn::Block> decoder_;
  nn::Head head_;
};

}  // namespace

std::unique_ptr<LanguageModel> make_llama(io::Fields f, nn::WeightMap& w) {
  auto config = io::read<Config>(f);
  w.drop_containing("rotary_emb.inv_freq");
  bool tied = config.tie_word_embeddings.value_or(!w.has("lm_head.weight"));
  if (tied) w.drop_prefix("lm_head.");
  return std::make_unique<Llama>(config, config.rope(), nn::Scope(w), tied);
}

}  // namespace mlxcpp::lm
