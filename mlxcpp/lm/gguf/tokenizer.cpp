#include "mlxcpp/io/gguf.h"
#include "mlxcpp/lm/gguf.h"
#include "mlxcpp/lm/gguf/architecture.h"

#include <algorithm>

namespace mlxcpp::lm {

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
  spec.bos = gguf_token_id(g, "bos_token_id");
  spec.eos = gguf_token_id(g, "eos_token_id");
  spec.unk = gguf_token_id(g, "unknown_token_id");
  spec.sep = gguf_token_id(g, "seperator_token_id");  // so spelled in the format
  spec.cls = gguf_token_id(g, "cls_token_id");
  spec.add_bos = g.find<bool>(key("add_bos_token"));
  spec.add_eos = g.find<bool>(key("add_eos_token"));
  spec.add_space_prefix = g.find<bool>(key("add_space_prefix"));
  spec.remove_extra_whitespaces = g.find<bool>(key("remove_extra_whitespaces")).value_or(false);
  text::Tokenizer::EosIds eos;
  for (auto id : {spec.eos, gguf_token_id(g, "eot_token_id")}) {
    if (!id) continue;
    if (!eos) eos.emplace();
    if (std::find(eos->begin(), eos->end(), *id) == eos->end()) eos->push_back(*id);
  }
  return text::Tokenizer::from_spec(
      spec, g.find<std::string>("tokenizer.chat_template").value_or(""), eos);
}

}  // namespace mlxcpp::lm
