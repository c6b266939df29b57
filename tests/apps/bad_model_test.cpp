// What a bad model directory gets from the command: one line that names it, and the exit code of
// its kind.  bad_input_test.cpp has GGUF files, options and the world outside.
#include "mlxcpp/io/file.h"
#include "tests/apps/run.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <string>

namespace mlxcpp::test {
namespace {

namespace fs = std::filesystem;

using Shapes = std::map<std::string, std::vector<int>>;

/// What a llama of one layer has to have.
Shapes llama_shapes() {
  std::string layer = "model.layers.0.";
  return {{"model.embed_tokens.weight", {501, 8}},
          {"model.norm.weight", {8}},
          {layer + "input_layernorm.weight", {8}},
          {layer + "post_attention_layernorm.weight", {8}},
          {layer + "self_attn.q_proj.weight", {8, 8}},
          {layer + "self_attn.k_proj.weight", {8, 8}},
          {layer + "self_attn.v_proj.weight", {8, 8}},
          {layer + "self_attn.o_proj.weight", {8, 8}},
          {layer + "mlp.gate_proj.weight", {16, 8}},
          {layer + "mlp.up_proj.weight", {16, 8}},
          {layer + "mlp.down_proj.weight", {8, 16}}};
}

std::string with_length(const std::string& header, std::uint64_t length) {
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + header;
}
std::string with_length(const std::string& header) { return with_length(header, header.size()); }

/// A safetensors file of float32 zeros.
std::string safetensors(const Shapes& shapes) {
  std::string header = "{";
  std::size_t end = 0;
  for (auto& [name, shape] : shapes) {
    std::size_t begin = end, count = 1;
    std::string extents;
    for (int n : shape) {
      count *= std::size_t(n);
      extents += (extents.empty() ? "" : ",") + std::to_string(n);
    }
    end = begin + 4 * count;
    header += (begin ? ",\"" : "\"") + name + R"(":{"dtype":"F32","shape":[)" + extents +
              R"(],"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(end) + "]}";
  }
  return with_length(header + "}") + std::string(end, '\0');
}

/// A config without one key, and with others in place of that.
std::string config(const std::string& without = "", const std::string& instead = "") {
  std::string text;
  for (auto& [key, value] : std::map<std::string, std::string>{{"model_type", "\"llama\""},
                                                               {"hidden_size", "8"},
                                                               {"num_hidden_layers", "1"},
                                                               {"intermediate_size", "16"},
                                                               {"num_attention_heads", "2"},
                                                               {"vocab_size", "501"},
                                                               {"tie_word_embeddings", "true"}})
    if (key != without) text += (text.empty() ? "{\"" : ", \"") + key + "\": " + value;
  return text + (instead.empty() ? "" : ", " + instead) + "}";
}

/// A directory with a sound model, to be spoilt by each test.
class BadDirectory : public testing::Test {
 protected:
  BadDirectory() {
    dir.write("config.json", config());
    dir.write("model.safetensors", safetensors(llama_shapes()));
    fs::copy_file(MLXCPP_TEST_DATA "/text/gpt2.json", dir.path() / "tokenizer.json");
  }
  /// Within 4 GiB of address space: nothing may be allocated by a number in a file.
  Ran load() const {
    return run({"/bin/sh",
                "-c",
                kLimit + "exec \"$@\"",
                "-",
                command(),
                "generate",
                "--model",
                dir.path().string(),
                "--prompt",
                "hi",
                "--max-tokens",
                "1"});
  }
  void refused(int code, const std::vector<std::string>& parts) const {
    Ran ran = load();
    EXPECT_EQ(ran.code, code) << ran.err;
    EXPECT_EQ(ran.out, "");
    EXPECT_TRUE(ran.err.starts_with("mlxcpp: error: ")) << ran.err;
    EXPECT_EQ(ran.err.find('\n'), ran.err.size() - 1) << ran.err;
    EXPECT_LT(ran.err.size(), 1000u);
    for (auto& part : parts)
      EXPECT_NE(ran.err.find(part), std::string::npos) << part << "\n" << ran.err;
  }
  TempDir dir;

 private:
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  const std::string kLimit;  // sanitizers need more
#else
  const std::string kLimit = "ulimit -v 4194304; ";
#endif
};

TEST_F(BadDirectory, is_sound_before_it_is_spoilt) {
  Ran ran = load();
  EXPECT_EQ(ran.code, 0) << ran.err;
}

// -- config.json ----------------------------------------------------------------------------------

struct BadConfig {
  const char* name;
  std::string text;
  int code;
  std::vector<std::string> parts;
};
void PrintTo(const BadConfig& c, std::ostream* out) { *out << c.name; }

class BadConfigs : public BadDirectory, public testing::WithParamInterface<BadConfig> {};

TEST_P(BadConfigs, are_refused_by_the_path_of_the_key) {
  dir.write("config.json", GetParam().text);
  refused(GetParam().code, GetParam().parts);
}

const std::string kLayers = "num_hidden_layers", kHidden = "hidden_size";

INSTANTIATE_TEST_SUITE_P(
    Config,
    BadConfigs,
    testing::Values(
        BadConfig{"empty", "", 4, {"config"}},
        BadConfig{"not_json", "{\"model_type\": llama}", 4, {"config", "line 1"}},
        BadConfig{"cut", config().substr(0, 40), 4, {"config", "line 1"}},
        BadConfig{"no_object", "[1]", 4, {"config", "object"}},
        BadConfig{"wrong_type",
                  config(kLayers, R"("num_hidden_layers": "many")"),
                  4,
                  {"config.num_hidden_layers: expected integer, found string \"many\""}},
        BadConfig{"a_list",
                  config(kLayers, R"("num_hidden_layers": [1])"),
                  4,
                  {"config.num_hidden_layers: expected integer, found"}},
        BadConfig{"a_float",
                  config(kLayers, R"("num_hidden_layers": 1.5)"),
                  4,
                  {"config.num_hidden_layers: expected integer, found"}},
        BadConfig{"missing_key", config(kLayers), 4, {"config.num_hidden_layers", "missing"}},
        BadConfig{"missing_model_type", config("model_type"), 4, {"config.model_type", "missing"}},
        BadConfig{"null",
                  config(kLayers, R"("num_hidden_layers": null)"),
                  4,
                  {"config.num_hidden_layers"}},
        BadConfig{"zero",
                  config(kLayers, R"("num_hidden_layers": 0)"),
                  4,
                  {"config.num_hidden_layers", "found 0"}},
        BadConfig{"negative",
                  config(kHidden, R"("hidden_size": -8)"),
                  4,
                  {"config.hidden_size", "found -8"}},
        BadConfig{
            "huge", config(kHidden, R"("hidden_size": 4000000000000)"), 4, {"config.hidden_size"}},
        BadConfig{"beyond_64_bits",
                  config(kHidden, R"("hidden_size": 40000000000000000000000)"),
                  4,
                  {"config.hidden_size"}},
        BadConfig{"huge_layers",
                  config(kLayers, R"("num_hidden_layers": 2147483647)"),
                  4,
                  {"model.layers.1.", "missing"}},
        BadConfig{"huge_vocab",
                  config("vocab_size", R"("vocab_size": 2147483647)"),
                  4,
                  {"model.embed_tokens.weight", "(2147483647, 8)", "(501, 8)"}},
        BadConfig{
            "huge_product",
            config("num_attention_heads", R"("num_attention_heads": 65536, "head_dim": 65536)"),
            4,
            {"config.head_dim"}},
        BadConfig{"real_1e300", config("", R"("rope_theta": 1e300)"), 4, {"config.rope_theta"}},
        BadConfig{"real_1e999", config("", R"("rope_theta": 1e999)"), 4, {"config"}},
        BadConfig{
            "integer_1e300", config(kHidden, R"("hidden_size": 1e300)"), 4, {"config.hidden_size"}},
        BadConfig{"nan", config("", R"("rope_theta": NaN)"), 4, {"config"}},
        BadConfig{"duplicate_key",
                  config("", R"("hidden_size": 8)"),
                  4,
                  {"config", "hidden_size", "twice"}},
        BadConfig{"duplicate_key_inside",
                  config("", R"("rope_scaling": {"factor": 1, "factor": 2})"),
                  4,
                  {"config.rope_scaling", "factor", "twice"}},
        BadConfig{"spaces", std::string(2 << 20, ' ') + config(), 5, {"config.json", "1048576"}},
        BadConfig{"nested", config("", "\"x\": " + std::string(100000, '[')), 4, {"config"}},
        BadConfig{"not_utf8", config("", "\"x\": \"\xff\""), 5, {"config.json", "UTF-8"}},
        BadConfig{"quantization_bits",
                  config("", R"("quantization": {"bits": 1000000000, "group_size": 64})"),
                  4,
                  {"config.quantization", "1000000000"}}),
    [](const auto& row) { return std::string(row.param.name); });

// -- safetensors ----------------------------------------------------------------------------------

TEST_F(BadDirectory, with_a_header_longer_than_the_file_is_refused) {
  for (std::uint64_t length : {std::uint64_t{1} << 20, std::uint64_t{1} << 60, ~std::uint64_t{0}}) {
    dir.write("model.safetensors", with_length("{}", length));
    refused(4, {"model.safetensors", std::to_string(length)});
  }
}

TEST_F(BadDirectory, with_a_file_cut_anywhere_is_refused) {
  auto whole = safetensors(llama_shapes());
  for (std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{100}, whole.size() - 1}) {
    dir.write("model.safetensors", whole.substr(0, size));
    refused(4, {"model.safetensors"});
  }
}

TEST_F(BadDirectory, with_overlapping_tensors_is_refused) {
  std::string header = R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},)"
                       R"("b":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}})";
  dir.write("model.safetensors", with_length(header) + std::string(24, '\0'));
  refused(4, {"model.safetensors", "b", "overlap"});
}

TEST_F(BadDirectory, without_a_tensor_is_refused_by_its_name_and_shape) {
  auto shapes = llama_shapes();
  shapes.erase("model.layers.0.mlp.up_proj.weight");
  dir.write("model.safetensors", safetensors(shapes));
  refused(4, {"model.layers.0.mlp.up_proj.weight: missing; expected shape (16, 8)"});
}

TEST_F(BadDirectory, with_a_tensor_of_another_shape_is_refused_by_both) {
  auto shapes = llama_shapes();
  shapes["model.layers.0.mlp.up_proj.weight"] = {8, 16};
  dir.write("model.safetensors", safetensors(shapes));
  refused(4, {"model.layers.0.mlp.up_proj.weight: wrong shape; expected (16, 8), found (8, 16)"});
}

TEST_F(BadDirectory, with_a_tensor_too_many_is_refused_by_its_name) {
  auto shapes = llama_shapes();
  shapes["model.layers.1.mlp.up_proj.weight"] = {16, 8};
  dir.write("model.safetensors", safetensors(shapes));
  refused(4, {"model.layers.1.mlp.up_proj.weight (16, 8)"});
}

TEST_F(BadDirectory, with_an_index_that_leaves_the_directory_is_refused) {
  for (std::string shard : {"../x", "/etc/passwd", "a/b", "..", ""}) {
    dir.write("model.safetensors.index.json", R"({"weight_map": {"w": ")" + shard + "\"}}");
    refused(4, {"weight_map.w: bad shard", "\"" + shard + "\""});
  }
}

TEST_F(BadDirectory, with_an_index_of_a_missing_shard_is_refused) {
  dir.write("model.safetensors.index.json",
            R"({"weight_map": {"w": "model-00001-of-00002.safetensors"}})");
  refused(4, {"a shard is missing", "model-00001-of-00002.safetensors"});
}

TEST_F(BadDirectory, with_an_index_of_a_tensor_that_its_shard_lacks_is_refused) {
  dir.write("model.safetensors.index.json", R"({"weight_map": {"w": "model.safetensors"}})");
  refused(4, {"w: missing", "model.safetensors"});
}

// -- Tokenizer and template -----------------------------------------------------------------------

TEST_F(BadDirectory, with_a_broken_tokenizer_is_refused_by_the_file) {
  for (auto text : {"", "{", "[]", "{\"model\": {\"type\": \"Unheard\"}}"}) {
    dir.write("tokenizer.json", text);
    refused(4, {"tokenizer.json"});
  }
  fs::remove(dir.path() / "tokenizer.json");
  refused(4, {dir.path().string(), "tokenizer.json"});
}

TEST_F(BadDirectory, with_a_template_that_fails_gives_the_templates_own_message) {
  dir.write("chat_template.jinja", "{{ 1 }}\n{% if %}");
  refused(4, {"line 2"});
  dir.write("chat_template.jinja", "{{ raise_exception('Only one of us can speak.') }}");
  refused(2, {"Only one of us can speak."});
  dir.write("chat_template.jinja",
            "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}");
  Ran ran = load();
  EXPECT_EQ(ran.code, 4) << ran.err;
}

}  // namespace
}  // namespace mlxcpp::test
