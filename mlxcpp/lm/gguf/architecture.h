// The GGUF files of one architecture in Hugging Face's words: which key of the metadata is which of
// config.json, and which tensor is which.
// Source: llama.cpp's conversion/ and src/models/, gguf-py's tensor_mapping.py.
#pragma once

#include "mlxcpp/io/gguf.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/lm/config.h"
#include "mlxcpp/nn/gguf.h"
#include "mlxcpp/ops/mx.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::lm {

/// What a file does not say of its rope, or not in one way.
struct GgufRope {
  bool truncate = true;         // yarn's bounds are whole numbers
  std::optional<float> mscale;  // yarn's mscale and mscale_all_dim
};

/// A config.json in the making.  Keys of the metadata are the architecture's own: "block_count"
/// stands for "llama.block_count".
class GgufConfig {
 public:
  explicit GgufConfig(const io::Gguf& file);

  std::string key(std::string_view own) const { return architecture_ + "." + std::string(own); }
  template <class T>
  T need(std::string_view own) const {
    return file_.need<T>(key(own));
  }
  template <class T>
  std::optional<T> find(std::string_view own) const {
    return file_.find<T>(key(own));
  }
  /// Throws: the file's `own` is `found`, and only `expected` is supported.
  [[noreturn]] void refuse(std::string_view own,
                           const std::string& expected,
                           const std::string& found) const;
  /// One number for all layers, or one for each; never empty.
  std::vector<int> each(std::string_view own) const;
  /// A list of float32 with infinities, which need() refuses.
  std::vector<float> need_with_infinities(std::string_view own) const;
  /// Of a matrix; nothing where there is none of this name.
  std::optional<std::int64_t> rows(std::string_view tensor) const;
  bool has_tensor(std::string_view name) const { return file_.find_tensor(name) != nullptr; }
  bool has_bias(std::string_view of) const {  ///< of the first layer's "attn_q" and so on
    return has_tensor("blk.0." + std::string(of) + ".bias");
  }
  int layers() const;  ///< without those that predict further tokens
  /// All numbers of a float32 tensor; none where there is no such tensor.  WeightError for another
  /// type.
  std::vector<float> numbers(std::string_view tensor) const;

  /// `name` is what the metadata hold as `own`.
  template <class T>
  GgufConfig& need(std::string_view name, std::string_view own) {
    json.member(name, need<T>(own));
    return *this;
  }
  /// Likewise; left out where the metadata have none.
  template <class T>
  GgufConfig& may(std::string_view name, std::string_view own) {
    if (auto value = find<T>(own)) json.member(name, *value);
    return *this;
  }
  /// A fixed value.
  template <class T>
  GgufConfig& is(std::string_view name, const T& value) {
    json.member(name, value);
    return *this;
  }

  // What many have in common.  Each throws UnsupportedError for what it can not say.
  GgufConfig& extents();           ///< width, layers, vocabulary, context, whether it is tied
  GgufConfig& attention();         ///< heads, their size, how much of it turns
  GgufConfig& attention_biases();  ///< attention_bias: whether the first layer's q has one
  GgufConfig& expert_groups();     ///< how DeepSeek's router chooses, by its names
  GgufConfig& rope(const GgufRope& rope = {});  ///< rope_theta, rope_scaling
  GgufConfig& dense();  ///< extents, attention, rope, intermediate_size, rms_norm_eps

  int head_dim() const;
  io::JsonWriter json;

 private:
  int heads() const;
  const io::GgufList* find_list(std::string_view own) const;
  const io::Gguf& file_;
  std::string architecture_;
};

/// Names without "blk.N." and "model.layers.N."; with or without the last part ("weight").
struct GgufName {
  std::string_view gguf, huggingface;
  /// What makes Hugging Face's tensor of it; null: it is the same.
  array (*change)(const array&) = nullptr;
};

struct GgufArchitecture {
  std::string_view name;
  void (*config)(GgufConfig&);
  std::vector<GgufName> names = {};  // beyond the usual ones, or instead of them
  /// What is left to do with all tensors together.
  void (*finish)(const GgufConfig&, nn::GgufWeights&) = nullptr;
  std::string_view layers = "model.layers";
  bool interleaved = false;  // the rows of q and k, for a rope that turns neighbours
  bool experts = false;      // whether a file may have any
};
// One table in each file.
std::vector<GgufArchitecture> gguf_dense();
std::vector<GgufArchitecture> gguf_gemma();
std::vector<GgufArchitecture> gguf_experts();
std::vector<GgufArchitecture> gguf_recurrent();
std::vector<GgufArchitecture> gguf_delta_nets();
const std::vector<GgufArchitecture>& gguf_architectures();

/// What q_proj and so on are called in most of them; null for another name.
const GgufName* find_usual_name(std::string_view name);

/// A special token by the end of its key ("eos_token_id").
std::optional<TokenId> gguf_token_id(const io::Gguf& file, const char* key);

}  // namespace mlxcpp::lm
