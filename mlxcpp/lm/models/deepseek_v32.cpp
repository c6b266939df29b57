// DeepSeek V3.2 and GLM 5: latent attention to the few keys that an indexer leaves, which a layer
// may take over from the one before; experts in groups.
// Source: mlx-lm models/deepseek_v32.py, glm_moe_dsa.py (0.32.2), transformers models/deepseek_v32,
// glm_moe_dsa.  Differs from mlx-lm: as deepseek_v3, and mlp_layer_types and layers that share a
// choice (GLM), as transformers; keys that score the same as the last chosen one are all kept.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/nn/grouped_moe.h"
#include "mlxcpp/nn/key_indexer.h"

#include <algorithm>
#include <climits>

namespace mlxcpp::lm {
namespace {

struct Config {
  int hidden_size, num_hidden_layers, intermediate_size, num_attention_heads, vocab_size;
  nn::LatentShape attention;
  nn::IndexerShape indexer;
  nn::GroupedMoeConfig moe;
  std::vector<std::string> mlp_layer_types;  // empty: as moe says
  std::vector<std::string> indexer_types;    // empty: as the two numbers say
  int index_topk_freq = 1, index_skip_topk_offset = 2;
  float rms_norm_eps = 1e-6f;
  std::optional<bool> tie_word_embeddings;
  std::string hidden_act = "silu";

  void fields(io::Fields& f) {
    for (auto [key, extent] : {std::pair{"hidden_size", &hidden_size},
                               {"num_hidden_layers", &num_hidden_layers},
                               {"intermediate_size", &intermediate_size},
                               {"num_attention_heads", &num_attention_heads},
                               {"vocab_size", &vocab_size}}) {
      f.need(key, extent);
      io::require_positive(f.where(key), *extent);
    }
    attention.dim = hidden_size, attention.heads = num_attention_heads;
    attention.fields(f);
    indexer.fields(f, attention);
    moe.fields(f);
    f.may("mlp_layer_types", &mlp_layer_types)
        .may("rms_norm_eps", &rms_norm_eps)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("hidden_act", &hidden_act);
    if (!mlp_layer_types.empty())
      nn::check_layer_types(
          f.where("mlp_layer_types"), mlp_layer_types, num_hidden_layers, {"dense", "sparse"});
  }

  /// A list, a pattern such as "FSSF", or every n-th layer from some layer on.
  void read_indexer_types(io::Fields& f) {
    std::string pattern, where = "indexer_types";
    f.may("indexer_types", &indexer_types)
        .may("index_topk_pattern", &pattern)
        .may("index_topk_freq", &index_topk_freq)
        .may("index_skip_topk_offset", &index_skip_topk_offset);
    io::require_positive(f.where("index_topk_freq"), index_topk_freq);
    io::require_in_range(f.where("index_skip_topk_offset"), index_skip_topk_offset, 0, INT_MAX);
    if (indexer_types.empty()) {
      where = pattern.empty() ? "index_topk_freq" : "index_topk_pattern";
      for (char c : pattern)
        indexer_types.push_back(c == 'F' ? "full" : c == 'S' ? "shared" : std::string(1, c));
    }
    if (!indexer_types.empty())
      nn::check_layer_types(f.where(where), indexer_types, num_hidden_layers, {"full", "shared"});
    if (!indexes(0))
      throw ConfigError(describe(
          f.where(where), "nothing to share yet", "a first layer with an indexer", "none"));
  }

  bool sparse(int layer) const {
    if (mlp_layer_types.empty()) return moe.sparse(layer);
    return moe.n_routed_experts && mlp_layer_types[layer] == "sparse";
  }
  bool indexes(int layer) const {
    if (!indexer_types.empty()) return indexer_types[layer] == "full";
    return std::max(layer - index_skip_topk_offset + 1, 0) % index_topk_freq == 0;
  }
};

using Feed = nn::Either<nn::GatedMlp, nn::GroupedMoe>;

struct Block {
  nn::RmsNorm pre_attention;
  nn::LatentAttention attention;
  std::optional<nn::KeyIndexer> indexer;  // absent: the choice of the layer before
  nn::RmsNorm pre_mlp;
  Feed mlp;

  /// Returns h, and leaves in `choice` what the next layer may share.
  array operator()(const array& h, const ops::Layer& layer, ops::ChosenKeys* choice) const {
    array x = pre_attention(h), source = attention.query_source(x);
    if (indexer) *choice = (*indexer)(x, source, layer);
    array mid = ops::add(h, attention.attend(x, source, layer, *choice));
    return ops::add(mid, mlp(pre_mlp(mid)));
  }
  ops::LayerLayout layout() const {
    auto kept = attention.layout();
    if (indexer) kept.kv.push_back(indexer->layout());
    return kept;
  }
};

Block make_block(const Config& c, int layer, nn::Scope w) {
  int dim = c.hidden_size;
  auto act = nn::activation_named(c.hidden_act, "config.hidden_act");
  auto indexer = [&]() -> std::optional<nn::KeyIndexer> {
    if (!c.indexes(layer)) return {};
    return nn::KeyIndexer(w / "self_attn" / "indexer", c.indexer, c.attention);
  };
  auto feed = [&]() -> Feed {
    if (c.sparse(layer)) return {nn::GroupedMoe(w / "mlp", dim, c.moe, act)};
    return {nn::GatedMlp(w / "mlp", dim, c.intermediate_size, act)};
  };
  return {.pre_attention = {w / "input_layernorm", dim, c.rms_norm_eps},
          .attention = {w / "self_attn", c.attention},
          .indexer = indexer(),
          .pre_mlp = {w / "post_attention_layernorm", dim, c.rms_norm_eps},
          .mlp = feed()};
}

class DeepseekV32 final : public LanguageModel {
 public:
  DeepseekV32(nn::Decoder<Block> decoder, nn::Head head)
      : decoder_(std::move(decoder)), head_(std::move(head)) {}

  array logits(const array& h) const override { return head_(h); }
  CacheLayout layout() const override { return decoder_.layout(); }
  int vocab_size() const override { return decoder_.embed.w->outputs(); }

 private:
  array run(const Input& in, const ops::Pass& pass) const override {
    array h = embed(in, decoder_.embed);
    ops::ChosenKeys choice;
    for (size_t i = 0; i < decoder_.layers.size(); ++i)
      h = decoder_.layers[i](h, pass.layers[i], &choice);
    return decoder_.norm(h);
  }

  nn::Decoder<Block> decoder_;
  nn::Head head_;
};

std::unique_ptr<LanguageModel> make(const Config& c, nn::WeightMap& w) {
  w.drop_layers("model.layers", c.num_hidden_layers);  // multi-token prediction
  w.drop_containing("rotary_emb.inv_freq");
  w.stack_experts("experts", "switch_mlp", c.moe.experts());
  bool tied = c.tie_word_embeddings.value_or(!w.has("lm_head.weight"));
  if (tied) w.drop_prefix("lm_head.");
  nn::Scope root(w), model = root / "model";
  nn::Decoder<Block> decoder{.embed = {model / "embed_tokens", c.vocab_size, c.hidden_size},
                             .layers = nn::build(c.num_hidden_layers,
                                                 [&](int i) {
                                                   auto scope = model / "layers" / i;
                                                   nn::split_kv_b(
                                                       w, scope / "self_attn", c.attention);
                                                   return make_block(c, i, scope);
                                                 }),
                             .norm = {model / "norm", c.hidden_size, c.rms_norm_eps}};
  nn::Head head(root / "lm_head", decoder.embed, c.vocab_size, c.hidden_size, tied);
  return std::make_unique<DeepseekV32>(std::move(decoder), std::move(head));
}

}  // namespace

std::unique_ptr<LanguageModel> make_deepseek_v32(io::Fields f, nn::WeightMap& w) {
  Config c{};
  c.attention.q_lora_rank = 1536;
  c.attention.rope.max_position_embeddings = 163840;
  c.fields(f);
  return make(c, w);
}

std::unique_ptr<LanguageModel> make_glm_moe_dsa(io::Fields f, nn::WeightMap& w) {
  Config c{};
  c.attention.q_lora_rank = 2048;
  c.attention.qk_nope_head_dim = 192, c.attention.v_head_dim = 256;
  c.attention.rope.max_position_embeddings = 202752;
  c.indexer.index_n_heads = 32, c.indexer.indexer_rope_interleave = true;
  c.moe.n_group = c.moe.topk_group = 1;
  c.rms_norm_eps = 1e-5f;
  c.fields(f);
  c.read_indexer_types(f);
  return make(c, w);
}

}  // namespace mlxcpp::lm
