#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"
#include "mlxcpp/nn/foreign.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace mlxcpp::nn {
namespace {

using Method = Foreign::Method;

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

[[noreturn]] void unsupported(const io::Fields& f,
                              const char* key,
                              const std::string& expected,
                              const std::string& found) {
  throw UnsupportedError(describe(f.where(key), "not supported", expected, found));
}

void require_word(const io::Fields& f,
                  const char* key,
                  const std::string& found,
                  const std::string& expected) {
  if (lower(found) != expected) unsupported(f, key, "\"" + expected + "\"", "\"" + found + "\"");
}

[[noreturn]] void act_order(const io::Fields& f, const char* key, const std::string& found) {
  throw UnsupportedError(
      describe(f.where(key),
               "groups in the order of activations (act-order) are not supported",
               "groups of neighbouring columns",
               found));
}

/// -1 is a whole row.
int checked_group(const io::Fields& f, const char* key, int group) {
  if (group == -1) return 0;
  io::require_positive(f.where(key), group);
  return group;
}

Foreign read_awq(io::Fields f) {
  int bits = 4, group = 128;
  bool zeros = true;
  std::string version = "gemm", format = version, backend;
  f.may("w_bit", &bits).may("bits", &bits);
  f.may("q_group_size", &group).may("group_size", &group).may("zero_point", &zeros);
  f.may("version", &version).may("format", &format).may("backend", &backend);
  if (bits != 4) unsupported(f, "bits", "4", std::to_string(bits));
  require_word(f, "version", version, "gemm");
  require_word(f, "format", format, "gemm");
  if (lower(backend) == "llm-awq") unsupported(f, "backend", "AutoAWQ's", "\"" + backend + "\"");
  return {.method = Method::awq, .schemes = {{4, checked_group(f, "group_size", group), zeros}}};
}

Foreign read_gptq(io::Fields f) {
  int bits = 4, group = 128;
  bool desc_act = false, marlin = false;
  std::string format = "gptq", words = "int32";
  f.may("bits", &bits).may("group_size", &group).may("desc_act", &desc_act);
  f.may("format", &format).may("checkpoint_format", &format);
  f.may("is_marlin_format", &marlin).may("pack_dtype", &words);
  if (bits != 4) unsupported(f, "bits", "4", std::to_string(bits));
  if (desc_act) act_order(f, "desc_act", "true");
  format = lower(format);
  if (marlin || (format != "gptq" && format != "gptq_v2"))
    unsupported(f,
                "checkpoint_format",
                "\"gptq\" or \"gptq_v2\"",
                marlin ? "marlin" : "\"" + format + "\"");
  require_word(f, "pack_dtype", words, "int32");
  if (auto dynamic = f.object("dynamic"))
    for (auto& pattern : dynamic->keys())  // "-:" leaves modules out, which tensors show
      if (!pattern.starts_with("-:"))
        unsupported(f, "dynamic", "patterns of modules that are left out", "\"" + pattern + "\"");
  return {.method = Method::gptq,
          .schemes = {{4, checked_group(f, "group_size", group), true}},
          .zeros_less_one = format == "gptq"};
}

/// A group of config_groups: what was done to the modules that it names.
void read_group(io::Fields& group, const std::string& format, Foreign& out) {
  auto w = group.need_object("weights");
  int bits = 0;
  std::optional<int> group_size;
  std::string type = "int", strategy, order;
  bool symmetric = true;
  w.need("num_bits", &bits).may("group_size", &group_size).may("symmetric", &symmetric);
  w.may("type", &type).may("strategy", &strategy);
  if (w.type("actorder") == io::JsonType::string) w.may("actorder", &order);
  if (order == "group" || order == "dynamic") act_order(w, "actorder", "\"" + order + "\"");
  if (strategy.empty()) strategy = !group_size || *group_size == -1 ? "channel" : "group";
  if (format == "nvfp4-pack-quantized") {
    require_word(w, "type", type, "float");
    if (bits != 4) unsupported(w, "num_bits", "4", std::to_string(bits));
    if (group_size.value_or(16) != 16)
      unsupported(w, "group_size", "16", std::to_string(*group_size));
    if (!symmetric) unsupported(w, "symmetric", "true", "false");
    return;
  }
  require_word(w, "type", type, "int");
  if (bits != 4 && bits != 8) unsupported(w, "num_bits", "4 or 8", std::to_string(bits));
  if (strategy != "group" && strategy != "channel")
    unsupported(w, "strategy", "\"group\" or \"channel\"", "\"" + strategy + "\"");
  int size = strategy == "channel" ? -1 : group_size.value_or(0);
  out.schemes.push_back({bits, checked_group(w, "group_size", size), !symmetric});
}

Foreign read_compressed_tensors(io::Fields f) {
  std::string format, status = "compressed";
  f.may("format", &format).may("quantization_status", &status);
  require_word(f, "quantization_status", status, "compressed");
  for (const char* key : {"kv_cache_scheme", "transform_config"}) {
    auto given = f.has(key) ? f.object(key) : std::nullopt;
    if (given && !given->keys().empty()) unsupported(f, key, "null", "an object");
  }
  if (auto sparse = f.object("sparsity_config")) {
    std::string sparse_format = "dense";
    sparse->may("format", &sparse_format);
    require_word(*sparse, "format", sparse_format, "dense");
  }
  auto groups = f.need_object("config_groups");
  Foreign out{.method = Method::packed_int, .schemes = {}};
  std::string all;
  for (auto& key : groups.keys()) {
    auto group = groups.need_object(key);
    std::string own = format;
    group.may("format", &own);
    if (own != "pack-quantized" && own != "nvfp4-pack-quantized")
      unsupported(f, "format", "\"pack-quantized\" or \"nvfp4-pack-quantized\"", "\"" + own + "\"");
    if (!all.empty() && own != all)
      unsupported(group, "format", "\"" + all + "\", as the groups before", "\"" + own + "\"");
    all = own;
    read_group(group, own, out);
  }
  if (all.empty()) throw ConfigError(describe(f.where("config_groups"), "empty", "a group"));
  if (all == "nvfp4-pack-quantized") out.method = Method::nvfp4;
  return out;
}

Foreign read_fp8(io::Fields f) {
  std::string number = "e4m3", experts = "fp8";
  f.may("fmt", &number).may("expert_dtype", &experts);
  require_word(f, "fmt", number, "e4m3");
  require_word(f, "expert_dtype", experts, "fp8");
  Foreign out{.method = Method::fp8, .schemes = {}};
  std::vector<int> block;
  f.may("weight_block_size", &block);
  out.may_be_whole = block.empty();
  if (out.may_be_whole) return out;
  if (block.size() != 2 || block[0] < 1 || block[1] < 1)
    throw ConfigError(describe(f.where("weight_block_size"),
                               "not a block",
                               "two positive numbers",
                               f.json_text("weight_block_size").value_or("")));
  out.block = {block[0], block[1]};
  return out;
}

}  // namespace

std::optional<Foreign> Foreign::read(const io::Fields& config) {
  if (config.has("quantization")) return {};
  auto f = config.object("quantization_config");
  if (!f && config.type("text_config") == io::JsonType::object)
    f = config.object("text_config")->object("quantization_config");
  if (!f) return {};
  std::string method;
  f->may("quant_method", &method);
  if (method.empty() || method == "mxfp4" || f->has("mode")) return {};  // MLX's, byte for byte
  if (method == "awq") return read_awq(*f);
  if (method == "gptq") return read_gptq(*f);
  if (method == "compressed-tensors") return read_compressed_tensors(*f);
  if (method == "fp8") return read_fp8(*f);
  throw UnsupportedError(describe(f->where("quant_method"),
                                  "quantisation method not supported",
                                  "MLX's, awq, gptq, compressed-tensors or fp8",
                                  "\"" + method + "\""));
}

}  // namespace mlxcpp::nn
