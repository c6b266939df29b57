#include "mlxcpp/lm/gguf.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/io/json.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace mlxcpp::lm {
namespace {

// Source of keys and names: gguf-py constants.py and tensor_mapping.py, convert_hf_to_gguf.py.

std::string architecture(const io::Gguf& g) { return g.need<std::string>("general.architecture"); }

struct Architecture {
  std::string_view name;
  bool interleaved;  // the rows of q and k, for a rope that turns neighbours
  bool says_biases;  // config.json has attention_bias and mlp_bias
};
constexpr std::array kArchitectures = {
    Architecture{"llama", true, true},
    Architecture{"qwen2", false, false},
    Architecture{"qwen3", false, false},
};

const Architecture* find_mapping(const std::string& arch) {
  auto it = std::ranges::find(kArchitectures, arch, &Architecture::name);
  return it == kArchitectures.end() ? nullptr : it;
}

const Architecture& require_mapping(const io::Gguf& g) {
  std::string arch = architecture(g), known;
  const Architecture* found = find_mapping(arch);
  for (auto& a : kArchitectures) known += (known.empty() ? "" : ", ") + std::string(a.name);
  if (!found)
    throw UnsupportedError(describe(g.label(), "GGUF architecture not supported", known, arch));
  if (g.find<int>(arch + ".expert_count").value_or(0) > 0)
    throw UnsupportedError(describe(g.label(), "experts in a GGUF file are not supported"));
  return *found;
}

/// The whole of a 1-D float tensor, such as rope_freqs.weight.
std::vector<float> floats(const io::Gguf& g, const io::GgufTensor& t) {
  if (t.type != io::GgmlType::f32)
    throw WeightError(describe(g.label() + ": " + std::string(t.name),
                               "wrong type",
                               "F32",
                               std::string(io::name_of(t.type))));
  std::vector<float> v(t.bytes.size() / sizeof(float));
  std::memcpy(v.data(), t.bytes.data(), v.size() * sizeof(float));
  return v;
}

void write_rope_scaling(io::JsonWriter& json,
                        const io::Gguf& g,
                        const std::string& arch,
                        int context) {
  auto key = [&](const char* k) { return arch + ".rope.scaling." + k; };
  auto type = g.find<std::string>(key("type")).value_or("none");
  if (const auto* t = g.find_tensor("rope_freqs.weight")) {
    // Llama 3's scaling, already worked out: a factor on each wavelength, whatever the length.
    auto factors = floats(g, *t);
    json.key("rope_scaling").begin_object().member("rope_type", "longrope");
    json.member("short_factor", factors).member("long_factor", factors);
    json.member("attention_factor", 1.0).member("original_max_position_embeddings", context);
    json.end_object();
  } else if (type == "linear" || type == "yarn") {
    json.key("rope_scaling").begin_object().member("rope_type", type);
    json.member("factor", g.need<float>(key("factor")));
    if (auto original = g.find<int>(key("original_context_length")))
      json.member("original_max_position_embeddings", *original);
    json.end_object();
  } else if (type != "none") {
    throw UnsupportedError(describe(g.label() + ": " + key("type"),
                                    "rope scaling not supported",
                                    "none, linear or yarn",
                                    type));
  }
}

struct NamePair {
  std::string_view gguf, huggingface;
};
constexpr std::array kTop = {NamePair{"token_embd", "model.embed_tokens"},
                             NamePair{"output_norm", "model.norm"},
                             NamePair{"output", "lm_head"}};
constexpr std::array kLayer = {NamePair{"attn_norm", "input_layernorm"},
                               NamePair{"attn_q", "self_attn.q_proj"},
                               NamePair{"attn_q_norm", "self_attn.q_norm"},
                               NamePair{"attn_k", "self_attn.k_proj"},
                               NamePair{"attn_k_norm", "self_attn.k_norm"},
                               NamePair{"attn_v", "self_attn.v_proj"},
                               NamePair{"attn_output", "self_attn.o_proj"},
                               NamePair{"ffn_norm", "post_attention_layernorm"},
                               NamePair{"ffn_gate", "mlp.gate_proj"},
                               NamePair{"ffn_up", "mlp.up_proj"},
                               NamePair{"ffn_down", "mlp.down_proj"}};

template <class Table>
std::string_view lookup(const Table& table, std::string_view name) {
  auto it = std::find_if(table.begin(), table.end(), [&](auto& p) { return p.gguf == name; });
  return it == table.end() ? std::string_view() : it->huggingface;
}

/// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; an unknown name stays, so
/// that it is reported as one that the model has no place for.
std::string huggingface_name(std::string_view name) {
  auto dot = name.rfind('.');
  if (dot == name.npos) return std::string(name);
  std::string_view stem = name.substr(0, dot), leaf = name.substr(dot);
  if (auto top = lookup(kTop, stem); !top.empty()) return std::string(top) + std::string(leaf);
  if (!stem.starts_with("blk.")) return std::string(name);
  auto end = stem.find('.', 4);
  if (end == stem.npos) return std::string(name);
  auto in_layer = lookup(kLayer, stem.substr(end + 1));
  if (in_layer.empty()) return std::string(name);
  return "model.layers." + std::string(stem.substr(4, end - 4)) + "." + std::string(in_layer) +
         std::string(leaf);
}

std::optional<TokenId> token_id(const io::Gguf& g, const char* key) {
  return g.find<std::uint32_t>(std::string("tokenizer.ggml.") + key);
}

}  // namespace

std::string config_from_gguf(const io::Gguf& g) {
  std::string arch = architecture(g);
  io::JsonWriter json;
  json.begin_object().member("model_type", arch);
  if (!find_mapping(arch)) return json.end_object().str();
  const Architecture& mapping = require_mapping(g);
  auto need = [&](const char* key) { return g.need<int>(arch + "." + key); };
  int width = need("embedding_length"), heads = need("attention.head_count");
  int context = need("context_length");
  if (heads < 1)
    throw WeightError(describe(g.label() + ": " + arch + ".attention.head_count",
                               "out of range",
                               "1 or more",
                               std::to_string(heads)));
  int head_dim = g.find<int>(arch + ".attention.key_length").value_or(width / heads);
  int rotated = g.find<int>(arch + ".rope.dimension_count").value_or(head_dim);
  const auto* table = g.find_tensor("token_embd.weight");
  if (!table || table->shape.size() != 2)
    throw WeightError(describe(g.label() + ": token_embd.weight", "missing or not a matrix"));
  json.member("hidden_size", width)
      .member("num_hidden_layers", need("block_count"))
      .member("intermediate_size", need("feed_forward_length"))
      .member("num_attention_heads", heads)
      .member("num_key_value_heads", g.find<int>(arch + ".attention.head_count_kv").value_or(heads))
      .member("head_dim", head_dim)
      .member("vocab_size", table->shape[0])
      .member("max_position_embeddings", context)
      .member("rms_norm_eps", g.need<float>(arch + ".attention.layer_norm_rms_epsilon"))
      .member("rope_theta", g.find<float>(arch + ".rope.freq_base").value_or(10000))
      .member("tie_word_embeddings", g.find_tensor("output.weight") == nullptr);
  if (mapping.says_biases)
    json.member("attention_bias", g.find_tensor("blk.0.attn_q.bias") != nullptr)
        .member("mlp_bias", g.find_tensor("blk.0.ffn_gate.bias") != nullptr);
  if (rotated != head_dim && head_dim > 0)
    json.member("partial_rotary_factor", double(rotated) / head_dim);
  write_rope_scaling(json, g, arch, context);
  if (auto eos = token_id(g, "eos_token_id")) json.member("eos_token_id", *eos);
  return json.end_object().str();
}

nn::GgufWeights weights_from_gguf(const io::Gguf& g) {
  bool interleaved = require_mapping(g).interleaved;
  std::string arch = architecture(g);
  int heads = g.need<int>(arch + ".attention.head_count");
  int kv_heads = g.find<int>(arch + ".attention.head_count_kv").value_or(heads);
  return nn::load_gguf(g, [&](std::string_view name) -> std::optional<nn::GgufTarget> {
    if (name == "rope_freqs.weight") return {};  // in the config already
    nn::GgufTarget target{huggingface_name(name)};
    if (interleaved && target.name.find(".self_attn.q_proj.") != std::string::npos)
      target.interleaved_heads = heads;
    if (interleaved && target.name.find(".self_attn.k_proj.") != std::string::npos)
      target.interleaved_heads = kv_heads;
    return target;
  });
}

text::Tokenizer tokenizer_from_gguf(const io::Gguf& g) {
  auto key = [](const char* k) { return std::string("tokenizer.ggml.") + k; };
  text::VocabSpec spec;
  spec.model = g.need<std::string>(key("model"));
  spec.pre = g.find<std::string>(key("pre")).value_or("");
  spec.tokens = g.need<std::vector<std::string>>(key("tokens"));
  spec.scores = g.find<std::vector<float>>(key("scores")).value_or(std::vector<float>());
  auto kinds = g.find<std::vector<int>>(key("token_type")).value_or(std::vector<int>());
  spec.kinds.assign(kinds.begin(), kinds.end());
  spec.merges =
      g.find<std::vector<std::string>>(key("merges")).value_or(std::vector<std::string>());
  auto map = g.find<std::vector<int>>(key("precompiled_charsmap")).value_or(std::vector<int>());
  spec.charsmap.assign(map.begin(), map.end());
  spec.bos = token_id(g, "bos_token_id");
  spec.eos = token_id(g, "eos_token_id");
  spec.unk = token_id(g, "unknown_token_id");
  spec.sep = token_id(g, "seperator_token_id");  // so spelled in the format
  spec.cls = token_id(g, "cls_token_id");
  spec.add_bos = g.find<bool>(key("add_bos_token"));
  spec.add_eos = g.find<bool>(key("add_eos_token"));
  spec.add_space_prefix = g.find<bool>(key("add_space_prefix"));
  spec.remove_extra_whitespaces = g.find<bool>(key("remove_extra_whitespaces")).value_or(false);
  text::Tokenizer::EosIds eos;
  for (auto id : {spec.eos, token_id(g, "eot_token_id")}) {
    if (!id) continue;
    if (!eos) eos.emplace();
    if (std::find(eos->begin(), eos->end(), *id) == eos->end()) eos->push_back(*id);
  }
  return text::Tokenizer::from_spec(
      spec, g.find<std::string>("tokenizer.chat_template").value_or(""), eos);
}

}  // namespace mlxcpp::lm
