#include "mlxcpp/lm/models/gemma3n_config.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"

#include <cmath>
#include <string>

namespace mlxcpp::lm {
namespace {

/// How many deviations above the mean a normal distribution has `share` below it.
float quantile(double share) {
  double low = -40, high = 40;
  for (int i = 0; i < 100; ++i) {
    double mid = (low + high) / 2;
    (std::erfc(-mid / std::sqrt(2.)) / 2 < share ? low : high) = mid;
  }
  return float(low);
}

}  // namespace

void Gemma3nConfig::fields(io::Fields& f) {
  std::string hidden_activation = "gelu_pytorch_tanh";
  shape.fields(f);
  ropes.fields(f);
  sliding.fields(f, shape.num_hidden_layers);
  sharing.fields(f, shape.num_hidden_layers);
  f.may("vocab_size_per_layer_input", &vocab_size_per_layer_input)
      .may("hidden_size_per_layer_input", &hidden_size_per_layer_input)
      .may("altup_num_inputs", &altup_num_inputs)
      .may("altup_active_idx", &altup_active_idx)
      .may("altup_correct_scale", &altup_correct_scale)
      .may("laurel_rank", &laurel_rank)
      .may("attention_bias", &attention_bias)
      .may("rms_norm_eps", &rms_norm_eps)
      .may("final_logit_softcapping", &final_logit_softcapping)
      .may("tie_word_embeddings", &tie_word_embeddings)
      .may("hidden_activation", &hidden_activation);
  activation = nn::activation_named(hidden_activation, f.where("hidden_activation"));
  read_widths(f);
  check(f);
}

void Gemma3nConfig::read_widths(io::Fields& f) {
  f.may_one_or_many("intermediate_size", &widths_).may("activation_sparsity_pattern", &sparsities_);
  auto one_each = [&](const char* key, size_t found) {
    if (found == size_t(shape.num_hidden_layers)) return;
    throw ConfigError(describe(f.where(key),
                               "wrong length",
                               std::to_string(shape.num_hidden_layers),
                               std::to_string(found)));
  };
  if (f.type("intermediate_size") == io::JsonType::list)
    one_each("intermediate_size", widths_.size());
  for (int width : widths_) io::require_positive(f.where("intermediate_size"), width);
  if (f.has("activation_sparsity_pattern"))
    one_each("activation_sparsity_pattern", sparsities_.size());
  for (float share : sparsities_)
    io::require_in_range(f.where("activation_sparsity_pattern"), share, 0, 0.9999);
}

void Gemma3nConfig::check(const io::Fields& f) const {
  for (auto [key, value] : {std::pair{"vocab_size_per_layer_input", vocab_size_per_layer_input},
                            {"hidden_size_per_layer_input", hidden_size_per_layer_input},
                            {"altup_num_inputs", altup_num_inputs},
                            {"laurel_rank", laurel_rank}})
    io::require_positive(f.where(key), value);
  io::require_product(
      f.where("hidden_size_per_layer_input"), shape.num_hidden_layers, hidden_size_per_layer_input);
  io::require_product(f.where("altup_num_inputs"), altup_num_inputs, altup_num_inputs);
  io::require_in_range(f.where("altup_active_idx"), altup_active_idx, 0, altup_num_inputs - 1);
  io::require_positive(f.where("final_logit_softcapping"), final_logit_softcapping);
}

nn::AttentionShape Gemma3nConfig::attention(int layer) const {
  auto attention = shape.attention();
  attention.bias = attention.out_bias = attention_bias;
  attention.qk_norm = rms_norm_eps;
  attention.scale = 1;
  attention.window = sliding.window(layer);
  return attention;
}

ops::Rope Gemma3nConfig::rope(int layer) const {
  return ropes.make(sliding.slides(layer), shape.head_size());
}

nn::KeySource Gemma3nConfig::keys(int layer) const {
  return {.layer = layer,
          .owner = sharing.owner(layer, [this](int i) { return sliding.slides(i); })};
}

int Gemma3nConfig::mlp_width(int layer) const {
  return widths_.size() == 1 ? widths_[0] : widths_[layer];
}

std::optional<float> Gemma3nConfig::gate_cutoff(int layer) const {
  float off = shape.num_hidden_layers > 10 && layer < 10 ? 0.95f : 0;
  if (!sparsities_.empty()) off = sparsities_[layer];
  return off > 0 ? std::optional(quantile(off)) : std::nullopt;
}

nn::LayerInputShape Gemma3nConfig::layer_inputs() const {
  return {.vocab = vocab_size_per_layer_input,
          .layers = shape.num_hidden_layers,
          .size = hidden_size_per_layer_input,
          .dim = shape.hidden_size,
          .eps = rms_norm_eps};
}

}  // namespace mlxcpp::lm
