#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/gguf/architecture.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace mlxcpp::lm {

std::optional<TokenId> gguf_token_id(const io::Gguf& g, const char* key) {
  return g.find<std::uint32_t>(std::string("tokenizer.ggml.") + key);
}

GgufConfig::GgufConfig(const io::Gguf& file)
    : file_(file), architecture_(file.need<std::string>("general.architecture")) {}

const io::GgufList* GgufConfig::find_list(std::string_view own) const {
  auto entry = std::ranges::find(file_.metadata(), key(own), &io::GgufEntry::key);
  return entry == file_.metadata().end() ? nullptr : std::get_if<io::GgufList>(&entry->value);
}

std::vector<float> GgufConfig::need_with_infinities(std::string_view own) const {
  constexpr std::uint32_t kFloat32 = 6;  // the format's number
  auto* list = find_list(own);
  if (!list || list->element_type != kFloat32) return need<std::vector<float>>(own);
  std::vector<float> all(list->size);
  std::memcpy(all.data(), list->numbers.data(), list->numbers.size());
  if (std::ranges::any_of(all, [](float v) { return std::isnan(v); }))
    throw WeightError(describe(file_.label() + ": " + key(own), "not a number", "numbers", "NaN"));
  return all;
}

std::vector<int> GgufConfig::each(std::string_view own) const {
  if (!find_list(own)) return {need<int>(own)};
  auto all = need<std::vector<int>>(own);
  if (all.empty())
    throw WeightError(describe(file_.label() + ": " + key(own), "empty", "one for each layer"));
  return all;
}

std::optional<std::int64_t> GgufConfig::rows(std::string_view tensor) const {
  const auto* t = file_.find_tensor(tensor);
  if (!t || t->shape.size() != 2) return {};
  return t->shape[0];
}

void GgufConfig::refuse(std::string_view own,
                        const std::string& expected,
                        const std::string& found) const {
  throw UnsupportedError(
      describe(file_.label() + ": " + key(own), "not supported", expected, found));
}

std::vector<float> GgufConfig::numbers(std::string_view tensor) const {
  const auto* t = file_.find_tensor(tensor);
  if (!t) return {};
  if (t->type != io::GgmlType::f32)
    throw WeightError(describe(file_.label() + ": " + std::string(tensor),
                               "wrong type",
                               "F32",
                               std::string(io::name_of(t->type))));
  std::vector<float> v(t->bytes.size() / sizeof(float));
  std::memcpy(v.data(), t->bytes.data(), v.size() * sizeof(float));
  return v;
}

int GgufConfig::layers() const {
  int further = find<int>("nextn_predict_layers").value_or(0);
  return need<int>("block_count") - std::clamp(further, 0, std::max(need<int>("block_count"), 0));
}

int GgufConfig::heads() const {
  int heads = need<int>("attention.head_count");
  if (heads < 1)
    throw WeightError(describe(file_.label() + ": " + key("attention.head_count"),
                               "out of range",
                               "1 or more",
                               std::to_string(heads)));
  return heads;
}

int GgufConfig::head_dim() const {
  return find<int>("attention.key_length").value_or(need<int>("embedding_length") / heads());
}

GgufConfig& GgufConfig::extents() {
  auto vocabulary = rows("token_embd.weight");
  if (!vocabulary)
    throw WeightError(describe(file_.label() + ": token_embd.weight", "missing or not a matrix"));
  need<int>("hidden_size", "embedding_length")
      .is("num_hidden_layers", layers())
      .need<int>("max_position_embeddings", "context_length")
      .is("vocab_size", *vocabulary)
      .is("tie_word_embeddings", !has_tensor("output.weight"));
  return *this;
}

GgufConfig& GgufConfig::attention() {
  int size = head_dim(), rotated = find<int>("rope.dimension_count").value_or(size);
  is("num_attention_heads", heads())
      .is("num_key_value_heads", find<int>("attention.head_count_kv").value_or(heads()))
      .is("head_dim", size);
  if (rotated != size && size > 0) is("partial_rotary_factor", double(rotated) / size);
  return *this;
}

GgufConfig& GgufConfig::dense() {
  return extents()
      .attention()
      .rope()
      .need<int>("intermediate_size", "feed_forward_length")
      .need<float>("rms_norm_eps", "attention.layer_norm_rms_epsilon");
}

GgufConfig& GgufConfig::attention_biases() { return is("attention_bias", has_bias("attn_q")); }

GgufConfig& GgufConfig::expert_groups() {
  return is("n_group", find<int>("expert_group_count").value_or(1))
      .is("topk_group", find<int>("expert_group_used_count").value_or(1))
      .is("norm_topk_prob", find<bool>("expert_weights_norm").value_or(false))
      .is("routed_scaling_factor", find<float>("expert_weights_scale").value_or(1));
}

GgufConfig& GgufConfig::rope(const GgufRope& rope) {
  is("rope_theta", find<float>("rope.freq_base").value_or(10000));
  auto type = find<std::string>("rope.scaling.type").value_or("none");
  auto longer = numbers("rope_factors_long.weight"), shorter = numbers("rope_factors_short.weight");
  auto factors = numbers("rope_freqs.weight");
  if (!longer.empty() || !factors.empty()) {
    // rope_freqs is Llama 3's scaling, worked out: a factor on each wavelength, whatever the
    // length.
    bool fixed = longer.empty();
    json.key("rope_scaling").begin_object();
    is("rope_type", "longrope");
    is("short_factor", fixed ? factors : shorter).is("long_factor", fixed ? factors : longer);
    if (fixed)
      is("attention_factor", 1.0).need<int>("original_max_position_embeddings", "context_length");
    else
      may<float>("attention_factor", "rope.scaling.attn_factor");
    json.end_object();
  } else if (type == "linear" || type == "yarn") {
    json.key("rope_scaling").begin_object();
    is("rope_type", type).need<float>("factor", "rope.scaling.factor");
    may<int>("original_max_position_embeddings", "rope.scaling.original_context_length");
    may<float>("beta_fast", "rope.scaling.yarn_beta_fast");
    may<float>("beta_slow", "rope.scaling.yarn_beta_slow");
    may<float>("attention_factor", "rope.scaling.yarn_attn_factor");
    if (!rope.truncate) is("truncate", false);
    if (rope.mscale) is("mscale", *rope.mscale).is("mscale_all_dim", *rope.mscale);
    json.end_object();
  } else if (type != "none") {
    refuse("rope.scaling.type", "none, linear or yarn", type);
  }
  return *this;
}

}  // namespace mlxcpp::lm
