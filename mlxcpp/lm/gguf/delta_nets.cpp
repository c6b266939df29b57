// Gated delta nets, and gated attention in some layers.
#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/gguf/architecture.h"
#include "mlxcpp/lm/gguf/changes.h"
#include "mlxcpp/ops/basic.h"

#include <algorithm>
#include <cstdint>

namespace mlxcpp::lm {
namespace {

void delta_nets(GgufConfig& c) {
  int heads = c.need<int>("ssm.time_step_rank"), inner = c.need<int>("ssm.inner_size");
  c.extents().attention().rope();
  c.need<int>("linear_num_key_heads", "ssm.group_count")
      .is("linear_num_value_heads", heads)
      .need<int>("linear_key_head_dim", "ssm.state_size")
      .is("linear_value_head_dim", heads > 0 ? inner / heads : 0)
      .need<int>("linear_conv_kernel_dim", "ssm.conv_kernel")
      .may<int>("intermediate_size", "feed_forward_length")
      .need<float>("rms_norm_eps", "attention.layer_norm_rms_epsilon");
  c.attention_biases().may<int>("full_attention_interval", "full_attention_interval");
  if (auto recurrent = c.find<std::vector<bool>>("attention.recurrent_layers")) {
    recurrent->resize(std::min(recurrent->size(), size_t(std::max(c.layers(), 0))));
    std::vector<std::string> types;
    for (bool linear : *recurrent) types.push_back(linear ? "linear_attention" : "full_attention");
    c.is("layer_types", types);
  }
}

void shared_expert(GgufConfig& c) {
  c.need<int>("num_experts", "expert_count")
      .need<int>("num_experts_per_tok", "expert_used_count")
      .need<int>("moe_intermediate_size", "expert_feed_forward_length")
      .need<int>("shared_expert_intermediate_size", "expert_shared_feed_forward_length");
}

void qwen3_next(GgufConfig& c) {
  c.is("model_type", "qwen3_next");
  delta_nets(c);
  shared_expert(c);
  c.is("norm_topk_prob", true);
}

void qwen3_5(GgufConfig& c) {
  c.is("model_type", "qwen3_5");
  delta_nets(c);
}

void qwen3_5_moe(GgufConfig& c) {
  c.is("model_type", "qwen3_5_moe");
  delta_nets(c);
  shared_expert(c);
}

/// A tensor of a delta net: which piece it belongs to, and what comes after its name (".weight",
/// ".scales").
struct Piece {
  std::string net, name, leaf;

  static std::optional<Piece> of(const std::string& tensor) {
    static const std::string inside = ".linear_attn.";
    auto at = tensor.find(inside);
    if (at == tensor.npos) return {};
    at += inside.size();
    auto end = std::min(tensor.find('.', at), tensor.size());
    return Piece{tensor.substr(0, at), tensor.substr(at, end - at), tensor.substr(end)};
  }
};

/// Of q, or of k: all heads.  Twice that fits an int.
int key_rows(const GgufConfig& c) {
  auto rows = std::int64_t(c.need<int>("ssm.group_count")) * c.need<int>("ssm.state_size");
  if (rows < 1 || rows > INT32_MAX / 2)
    throw WeightError(describe(c.key("ssm.state_size"),
                               "out of range",
                               "ssm.group_count of them between 1 and 1073741823",
                               std::to_string(rows)));
  return int(rows);
}

int require_parts(const std::string& name, int extent, int parts) {
  if (parts > 0 && extent % parts == 0) return parts;
  throw WeightError(describe(name,
                             "does not fit the heads",
                             "a multiple of " + std::to_string(parts),
                             std::to_string(extent)));
}

/// (a, b, rest) along an axis -> (b, a, rest).
array swapped(const std::string& name, const array& x, int axis, int a, int b) {
  require_parts(name, x.shape(axis), a * b);
  if (a == 1 || b == 1) return x;
  array apart = mx::unflatten(x, axis, {a, b, -1});
  return mx::flatten(mx::swapaxes(apart, axis, axis + 1), axis, axis + 2);
}

/// Rows of q, k and v, each for all heads -> of one head after the other, with z.
array by_key_head(const std::string& name, const array& qkv, const array& z, int heads, int keys) {
  std::vector<array> parts = {z};
  if (qkv.shape(0) > 2 * keys) parts = ops::split_at(qkv, {keys, 2 * keys}, 0), parts.push_back(z);
  for (auto& part : parts)
    part = mx::unflatten(part, 0, {require_parts(name, part.shape(0), heads), -1});
  return mx::flatten(mx::concatenate(parts, 1), 0, 1);
}

/// Projections that are to be joined, but whose blocks are of two kinds, become numbers.
void unpack_unlike(nn::GgufWeights& w) {
  std::vector<std::string> unlike;
  for (auto& [name, x] : w.arrays) {
    auto piece = Piece::of(name);
    if (!piece || piece->name != "in_proj_qkv") continue;
    std::string z = piece->net + "in_proj_z" + piece->leaf;
    if (w.quantization.blocks_of(name) == w.quantization.blocks_of(z)) continue;
    unlike.insert(unlike.end(), {name, z});
  }
  for (auto& name : unlike) w.unpack(name);
}

/// Each key head of Qwen 3 Next has its q, k, v and z in one place of one projection; in a file
/// they stand apart.
void join_projections(const GgufConfig& c, nn::GgufWeights& w) {
  int heads = c.need<int>("ssm.group_count"), keys = key_rows(c);
  unpack_unlike(w);
  std::map<std::string, array> rest;
  std::map<std::string, std::optional<ops::Quant>> quants;
  for (auto& [name, x] : w.arrays) {
    auto piece = Piece::of(name);
    if (!piece || (piece->name != "in_proj_qkv" && piece->name != "in_proj_z")) {
      rest.emplace(name, x);
      continue;
    }
    if (piece->name == "in_proj_z") continue;
    std::string qkv = piece->net + "in_proj_qkv", z = piece->net + "in_proj_z";
    auto other = w.arrays.find(z + piece->leaf);
    if (other == w.arrays.end() || other->second.shape().size() != x.shape().size() ||
        other->second.shape(-1) != x.shape(-1) || other->second.dtype() != x.dtype())
      throw WeightError(describe(name, "stored otherwise than in_proj_z", "one type for both"));
    std::string joined = piece->net + "in_proj_qkvz";
    rest.emplace(joined + piece->leaf, by_key_head(name, x, other->second, heads, keys));
    if (auto quant = w.quantization.exceptions.extract(qkv)) quants[joined] = quant.mapped();
    w.quantization.exceptions.erase(z);
  }
  w.arrays = std::move(rest);
  w.quantization.exceptions.merge(quants);
}

/// Whether so many groups of columns are whole blocks each.
bool blocks_fit(ops::Format format, const array& x, int groups) {
  auto block = ops::block_layout(format).value();
  return (x.shape(-1) / block.bytes) % groups == 0;
}

/// Qwen 3.5's value heads stand in the order (number within its key head, key head), for ggml's
/// broadcasting.
void regroup_value_heads(const GgufConfig& c, nn::GgufWeights& w) {
  int keys = c.need<int>("ssm.group_count"), heads = c.need<int>("ssm.time_step_rank");
  if (keys < 1 || heads % keys != 0) return;  // the model names what is wrong
  int each = heads / keys, before = 2 * key_rows(c);
  for (auto& [name, x] : w.arrays) {
    auto piece = Piece::of(name);
    if (!piece || piece->name == "norm") continue;
    auto format = w.quantization.blocks_of(name);
    if (format && piece->name == "out_proj" && each > 1 && !blocks_fit(*format, x, heads))
      w.unpack(name);
    bool channels = piece->name == "in_proj_qkv" || piece->name == "conv1d";
    if (channels && x.shape(0) > before) {
      auto parts = ops::split_at(x, {before}, 0);
      x = mx::concatenate({parts[0], swapped(name, parts[1], 0, each, keys)}, 0);
    } else {
      int axis = piece->name == "out_proj" ? int(x.ndim()) - 1 : 0;
      x = swapped(name, x, axis, each, keys);
    }
  }
}

std::vector<GgufName> delta_names(std::vector<GgufName> further) {
  std::vector<GgufName> names = {{"post_attention_norm", "post_attention_layernorm"},
                                 {"attn_qkv", "linear_attn.in_proj_qkv"},
                                 {"attn_gate", "linear_attn.in_proj_z"},
                                 {"ssm_conv1d", "linear_attn.conv1d", depthwise},
                                 {"ssm_dt.bias", "linear_attn.dt_bias"},
                                 {"ssm_a", "linear_attn.A_log", log_of_negative},
                                 {"ssm_norm", "linear_attn.norm"},
                                 {"ssm_out", "linear_attn.out_proj"}};
  names.insert(names.end(), further.begin(), further.end());
  return names;
}

const std::vector<GgufName> kSharedExpert = {{"ffn_gate_inp", "mlp.gate"},
                                             {"ffn_gate_exps", "mlp.switch_mlp.gate_proj"},
                                             {"ffn_up_exps", "mlp.switch_mlp.up_proj"},
                                             {"ffn_down_exps", "mlp.switch_mlp.down_proj"},
                                             {"ffn_gate_inp_shexp", "mlp.shared_expert_gate"},
                                             {"ffn_gate_shexp", "mlp.shared_expert.gate_proj"},
                                             {"ffn_up_shexp", "mlp.shared_expert.up_proj"},
                                             {"ffn_down_shexp", "mlp.shared_expert.down_proj"}};

}  // namespace

std::vector<GgufArchitecture> gguf_delta_nets() {
  auto next = delta_names(kSharedExpert), moe = next;
  next.push_back({"ssm_ba", "linear_attn.in_proj_ba"});
  std::vector<GgufName> apart = {{"ssm_beta", "linear_attn.in_proj_b"},
                                 {"ssm_alpha", "linear_attn.in_proj_a"}};
  moe.insert(moe.end(), apart.begin(), apart.end());
  return {
      {.name = "qwen3next",
       .config = qwen3_next,
       .names = next,
       .finish = join_projections,
       .experts = true},
      {.name = "qwen35",
       .config = qwen3_5,
       .names = delta_names(apart),
       .finish = regroup_value_heads},
      {.name = "qwen35moe",
       .config = qwen3_5_moe,
       .names = moe,
       .finish = regroup_value_heads,
       .experts = true},
  };
}

}  // namespace mlxcpp::lm
