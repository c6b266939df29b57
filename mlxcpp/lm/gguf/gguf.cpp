#include "mlxcpp/lm/gguf.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/lm/gguf/architecture.h"

#include <algorithm>
#include <charconv>

namespace mlxcpp::lm {
namespace {

std::string name_of_architecture(const io::Gguf& g) {
  return g.need<std::string>("general.architecture");
}

const GgufArchitecture* find_architecture(const std::string& name) {
  auto& all = gguf_architectures();
  auto it = std::ranges::find(all, name, &GgufArchitecture::name);
  return it == all.end() ? nullptr : &*it;
}

const GgufArchitecture& require_architecture(const io::Gguf& g) {
  std::string name = name_of_architecture(g), known;
  if (auto* found = find_architecture(name)) return *found;
  for (auto& a : gguf_architectures()) known += (known.empty() ? "" : ", ") + std::string(a.name);
  throw UnsupportedError(describe(g.label(), "GGUF architecture not supported", known, name));
}

void refuse_unread_experts(const io::Gguf& g, const GgufArchitecture& a) {
  auto count = g.find<int>(std::string(a.name) + ".expert_count").value_or(0);
  if (count > 0 && !a.experts)
    throw UnsupportedError(describe(g.label(), "experts in a GGUF file are not supported"));
}

const GgufName* find_name(const GgufArchitecture& a, std::string_view name) {
  auto it = std::ranges::find(a.names, name, &GgufName::gguf);
  return it == a.names.end() ? find_usual_name(name) : &*it;
}

/// Of "blk.3.attn_q.weight" 3; -1 of a tensor of no layer.
int layer_of(std::string_view name) {
  int layer = -1;
  if (name.starts_with("blk.")) std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return layer;
}

/// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; an unknown name stays, so
/// that it is reported as one that the model has no place for.
nn::GgufTarget target_of(const GgufArchitecture& a, std::string_view name) {
  std::string layer;
  std::string_view rest = name;
  if (name.starts_with("blk.")) {
    auto end = name.find('.', 4);
    if (end == name.npos) return {std::string(name)};
    layer = std::string(a.layers) + std::string(name.substr(3, end - 3)) + ".";
    rest = name.substr(end + 1);
  }
  if (auto* whole = find_name(a, rest))
    return {layer + std::string(whole->huggingface), whole->change};
  auto dot = rest.rfind('.');
  auto* stem = dot == rest.npos ? nullptr : find_name(a, rest.substr(0, dot));
  if (!stem) return {std::string(name)};
  return {layer + std::string(stem->huggingface) + std::string(rest.substr(dot)), stem->change};
}

}  // namespace

std::string config_from_gguf(const io::Gguf& g) {
  std::string name = name_of_architecture(g);
  GgufConfig config(g);
  config.json.begin_object();
  if (auto* a = find_architecture(name)) {
    refuse_unread_experts(g, *a);
    a->config(config);
    if (auto eos = gguf_token_id(g, "eos_token_id")) config.is("eos_token_id", *eos);
  } else {
    config.is("model_type", name);
  }
  return config.json.end_object().str();
}

nn::GgufWeights weights_from_gguf(const io::Gguf& g, nn::FileTensors* tensors) {
  auto& a = require_architecture(g);
  int heads = 0, kv_heads = 0;
  if (a.interleaved) {
    heads = g.need<int>(std::string(a.name) + ".attention.head_count");
    kv_heads = g.find<int>(std::string(a.name) + ".attention.head_count_kv").value_or(heads);
  }
  GgufConfig config(g);
  int layers = config.layers(), blocks = config.need<int>("block_count");
  auto names = [&](std::string_view name) -> std::optional<nn::GgufTarget> {
    if (name.starts_with("rope_f")) return {};  // frequencies: in the config already
    int layer = layer_of(name);
    if (layers <= layer && layer < blocks) return {};  // that predict further tokens
    auto target = target_of(a, name);
    if (target.name.find(".self_attn.q_proj.") != std::string::npos)
      target.interleaved_heads = heads;
    if (target.name.find(".self_attn.k_proj.") != std::string::npos)
      target.interleaved_heads = kv_heads;
    return target;
  };
  auto weights = nn::load_gguf(g, names, tensors);
  if (a.finish) a.finish(config, weights);
  return weights;
}

}  // namespace mlxcpp::lm
