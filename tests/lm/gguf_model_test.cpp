// GGUF files as models: config and tokenizer from metadata, and metadata that is wrong.  That their
// logits are right is golden_test's affair.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/gguf.h"
#include "mlxcpp/lm/loaded_model.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/ops/cpu/features.h"
#include "tests/io/support.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/script_model.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <map>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;
using io::testing::Bytes;
using test::Golden;
using test::message_of;

/// A row of llama, or the whole name of another.
fs::path gguf_of(const std::string& row) {
  std::string name = row.find("_gguf_") == row.npos ? "llama_gguf_" + row : row;
  return fs::path(MLXCPP_TEST_DATA "/lm") / (name + ".gguf");
}

// -- What a file says -------------------------------------------------------------------------

class GgufGolden : public testing::TestWithParam<fs::path> {
 protected:
  Golden golden = Golden::read(GetParam());
  io::Gguf file = io::Gguf::open(fs::path(GetParam()).replace_extension(".gguf"));
};

/// Keys of a golden's config that a file without architecture classes does not say, or says in
/// other words (compared below).
bool said_otherwise(const std::string& key) {
  return key == "architectures" || key == "hidden_act" || key == "rope_scaling";
}

/// Those that say what a reader must find, besides logits.
std::vector<fs::path> gguf_goldens() {
  auto files = test::golden_files();
  std::erase_if(files, [](auto& f) { return !test::golden_has(f, "text"); });
  return files;
}

TEST_P(GgufGolden, has_the_config_that_a_reader_must_find) {
  auto want = io::Fields::parse(golden.metadata.at("config"));
  auto got = io::Fields::parse(config_from_gguf(file));
  for (auto& key : want.keys()) {
    if (said_otherwise(key)) continue;
    if (want.type(key) == io::JsonType::integer || want.type(key) == io::JsonType::number) {
      float a = 0, b = -1;
      want.need(key, &a);
      ASSERT_TRUE(got.has(key)) << key;
      got.need(key, &b);
      EXPECT_EQ(a, b) << key;
    } else {
      EXPECT_EQ(got.json_text(key), want.json_text(key)) << key;
    }
  }
  int head_dim = 0, width = 0, heads = 1;
  std::optional<int> wanted;
  want.need("hidden_size", &width).need("num_attention_heads", &heads);
  got.need("head_dim", &head_dim);
  want.may("head_dim", &wanted);
  EXPECT_EQ(head_dim, wanted.value_or(width / heads));
  EXPECT_EQ(parse_config(config_from_gguf(file)).eos_token_ids, (std::vector<TokenId>{2}));
}

TEST_P(GgufGolden, has_the_rope_scaling_that_a_reader_must_find) {
  auto want = io::Fields::parse(golden.metadata.at("config")).object("rope_scaling");
  auto got = io::Fields::parse(config_from_gguf(file)).object("rope_scaling");
  ASSERT_EQ(got.has_value(), want.has_value());
  if (!want) return;
  std::string wanted, type;
  want->may("type", &wanted).may("rope_type", &wanted);
  got->need("rope_type", &type);
  if (wanted == "llama3") {  // the file has the factors, worked out
    std::vector<float> factors;
    got->need("long_factor", &factors);
    EXPECT_EQ(type, "longrope");
    EXPECT_EQ(factors.size(), 4u);
    return;
  }
  EXPECT_EQ(type, wanted);
  for (auto key : {"factor", "original_max_position_embeddings"}) {
    ASSERT_EQ(got->has(key), want->has(key)) << key;
    if (!want->has(key)) continue;
    float a = 0, b = 1;
    want->need(key, &a);
    got->need(key, &b);
    EXPECT_EQ(b, a) << key;
  }
}

TEST_P(GgufGolden, encodes_and_renders_as_the_reference_does) {
  auto tokenizer = tokenizer_from_gguf(file);
  auto text = io::Fields::parse(golden.metadata.at("text"));
  auto ids = text.need_object("ids"), decoded = text.need_object("decoded");
  EXPECT_GE(ids.keys().size(), 6u);
  for (auto& key : ids.keys()) {
    std::vector<int> want;
    ids.need(key, &want);
    auto got = tokenizer.encode(key, false);
    EXPECT_EQ(std::vector<int>(got.begin(), got.end()), want) << key;
    std::string back;
    decoded.need(key, &back);
    EXPECT_EQ(tokenizer.decode(got), back);
  }
  std::string chat;
  text.need("chat", &chat);
  EXPECT_EQ(tokenizer.apply_chat_template(*text.json_text("messages")), chat);
  EXPECT_EQ(tokenizer.eos_ids(), std::vector<TokenId>{2});
  EXPECT_EQ(tokenizer.bos(), 1u);
  EXPECT_EQ(tokenizer.vocab_size(), 288u);
}

INSTANTIATE_TEST_SUITE_P(Row, GgufGolden, testing::ValuesIn(gguf_goldens()), [](auto& file) {
  return file.param.stem().string();
});

// -- Files that say something else -------------------------------------------------------------

using Value = std::variant<std::monostate, std::uint64_t, std::int64_t, double, std::string>;
using Edits = std::map<std::string, Value>;  // monostate: the key is taken out

/// A GGUF file once more, with metadata set or taken out and with tensors renamed.
class Edited {
 public:
  Edited(const std::string& row,
         Edits edits,
         const std::map<std::string, std::string>& rename = {}) {
    auto g = io::Gguf::open(gguf_of(row));
    size_t entries = 0;
    for (auto& entry : g.metadata()) {
      if (edits.count(std::string(entry.key))) continue;
      put(entry), ++entries;
    }
    for (auto& [key, value] : edits)
      if (value.index()) put(key, value), ++entries;
    Bytes all;
    all.text("GGUF").put<std::uint32_t>(3);
    all.put<std::uint64_t>(g.tensors().size()).put<std::uint64_t>(entries).text(entries_.str());
    std::uint64_t offset = 0;
    Bytes data;
    for (auto& t : g.tensors()) {
      std::string name(t.name);
      all.string(rename.count(name) ? rename.at(name) : name);
      all.put<std::uint32_t>(std::uint32_t(t.dims.size()));
      for (auto d : t.dims) all.put<std::uint64_t>(std::uint64_t(d));
      all.put(t.type).put(offset);
      data.text({reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size()}).align(32);
      offset = data.str().size();
    }
    all.align(32).text(data.str());
    path = dir.write("edited.gguf", all.str());
  }

  fs::path path;

 private:
  enum Type : std::uint32_t { boolean = 7, string = 8, list = 9, u64 = 10, i64 = 11, f64 = 12 };

  void put(const io::GgufEntry& e) {
    entries_.string(e.key);
    if (auto* n = std::get_if<std::int64_t>(&e.value)) entries_.put(i64).put(*n);
    if (auto* n = std::get_if<std::uint64_t>(&e.value)) entries_.put(u64).put(*n);
    if (auto* n = std::get_if<double>(&e.value)) entries_.put(f64).put(*n);
    if (auto* b = std::get_if<bool>(&e.value)) entries_.put(boolean).put<std::uint8_t>(*b);
    if (auto* s = std::get_if<std::string_view>(&e.value)) entries_.put(string).string(*s);
    if (auto* l = std::get_if<io::GgufList>(&e.value)) {
      entries_.put(list).put(l->element_type).put(l->size);
      entries_.text({reinterpret_cast<const char*>(l->numbers.data()), l->numbers.size()});
      for (auto& s : l->strings) entries_.string(s);
    }
  }
  void put(const std::string& key, const Value& value) {
    entries_.string(key);
    if (auto* n = std::get_if<std::int64_t>(&value)) entries_.put(i64).put(*n);
    if (auto* n = std::get_if<std::uint64_t>(&value)) entries_.put(u64).put(*n);
    if (auto* n = std::get_if<double>(&value)) entries_.put(f64).put(*n);
    if (auto* s = std::get_if<std::string>(&value)) entries_.put(string).string(*s);
  }

  test::TempDir dir;
  Bytes entries_;
};

std::unique_ptr<LanguageModel> any_model(const LoadedModel&) {
  return std::make_unique<test::ScriptModel>(std::vector<int>{0}, 8);
}

LoadedModelContext load_edited(const Edited& file, const LoadOptions& options = {}) {
  ModelTypeRegistry registry;
  add_models(registry);
  registry.add("gpt_oss", any_model);
  return load(ModelConfiguration::from_directory(file.path), registry, options);
}

template <class E>
std::string refusal(const Edits& edits, const LoadOptions& options = {}) {
  Edited file("q8_0", edits);
  return message_of<E>([&] { load_edited(file, options); });
}

float difference(const Edited& file, const std::string& row) {
  auto g = Golden::read(gguf_of(row).replace_extension(".safetensors"));
  auto loaded = load_edited(file);
  Caches none;
  return test::relative_difference(test::forward(*loaded.model, none, g.ids("ids")),
                                   g.at("logits"));
}

// With activations of 16 bits.
constexpr float kTolerance = 1e-3f;

TEST(GgufModel, is_the_same_when_written_again) {
  EXPECT_LT(difference(Edited("q8_0", {}), "q8_0"), kTolerance);
}

/// Blocks that only our kernels read, as what MLX computes with.
class GgufForMlx : public testing::TestWithParam<const char*> {
 protected:
  GgufForMlx() {
    cpu::Settings settings;
    settings.mlx = true;
    cpu::use(settings);
  }
  ~GgufForMlx() override { cpu::use(cpu::Settings::read()); }
};
INSTANTIATE_TEST_SUITE_P(,
                         GgufForMlx,
                         testing::Values("q4_0", "q5_1", "q2_k", "q4_k", "q6_k", "iq4_xs"),
                         [](const auto& c) { return std::string(c.param); });

TEST_P(GgufForMlx, give_the_same_numbers) {
  EXPECT_LT(difference(Edited(GetParam(), {}), GetParam()), 1e-4f);
}

TEST(GgufModel, has_defaults_for_what_files_may_leave_out) {
  // All of these are what the file says: 10000, width / heads, head size, and no scaling.
  Edited file("q8_0",
              {{"llama.rope.freq_base", {}},
               {"llama.rope.dimension_count", {}},
               {"llama.vocab_size", {}},
               {"llama.rope.scaling.type", std::string("none")}});
  EXPECT_LT(difference(file, "q8_0"), kTolerance);
}

TEST(GgufModel, rotates_only_the_dimensions_that_the_file_says) {
  Edited file("q8_0", {{"llama.rope.dimension_count", std::uint64_t{4}}});
  auto config = io::Fields::parse(config_from_gguf(io::Gguf::open(file.path)));
  float part = 0;
  config.need("partial_rotary_factor", &part);
  EXPECT_EQ(part, 0.5f);
  EXPECT_GT(difference(file, "q8_0"), 1e-3f);
}

/// What llama.cpp knows of a published model by its size alone.
TEST(GgufModel, of_the_largest_gemma_3_scales_by_its_width) {
  auto scale = [](std::uint64_t layers) {
    Edited file("gemma3_text_gguf_plain", {{"gemma3.block_count", layers}});
    int found = 0;
    io::Fields::parse(config_from_gguf(io::Gguf::open(file.path)))
        .need("query_pre_attn_scalar", &found);
    return found;
  };
  EXPECT_EQ(scale(6), 16);  // the size of a head
  EXPECT_EQ(scale(62), 8);  // the width by the number of heads
}

TEST(GgufModel, of_llama_4_with_128_experts_has_no_norms_of_q_and_k) {
  auto normed = [](std::uint64_t experts) {
    Edited file("llama4_gguf_plain", {{"llama4.expert_count", experts}});
    bool found = false;
    io::Fields::parse(config_from_gguf(io::Gguf::open(file.path)))
        .need_object("text_config")
        .need("use_qk_norm", &found);
    return found;
  };
  EXPECT_TRUE(normed(16));
  EXPECT_FALSE(normed(128));
}

TEST(GgufModel, of_deepseek_2_is_not_read_as_deepseek_3) {
  for (Value scores : {Value(), Value(std::uint64_t{1})}) {
    Edited file("deepseek_v3_gguf_plain", {{"deepseek2.expert_gating_func", scores}});
    EXPECT_TRUE(message_of<UnsupportedError>([&] { load_edited(file); })
                    .ends_with("deepseek2.expert_gating_func: not supported; expected 2 (sigmoid), "
                               "as DeepSeek V3 has it, found 1"));
  }
}

TEST(GgufModel, of_phi_3_has_longropes_factor_on_attention) {
  Edited file("phi3_gguf_rope_longrope_short", {{"phi3.rope.scaling.attn_factor", 1.5}});
  float factor = 0;
  io::Fields::parse(config_from_gguf(io::Gguf::open(file.path)))
      .need_object("rope_scaling")
      .need("attention_factor", &factor);
  EXPECT_EQ(factor, 1.5f);
}

TEST(GgufModel, of_phi_3_may_have_no_window) {
  Edited file("phi3_gguf_rope_longrope_short",
              {{"phi3.attention.sliding_window", std::uint64_t{0}}});
  EXPECT_FALSE(
      io::Fields::parse(config_from_gguf(io::Gguf::open(file.path))).has("sliding_window"));
}

TEST(GgufModel, ends_at_the_end_of_a_turn_too) {
  Edited file("q8_0", {{"tokenizer.ggml.eot_token_id", std::uint64_t{1}}});
  auto loaded = load_edited(file);
  EXPECT_EQ(loaded.tokenizer.eos_ids(), (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(loaded.tokenizer.eos(), 2u);
  Edited same("q8_0", {{"tokenizer.ggml.eot_token_id", std::uint64_t{2}}});
  EXPECT_EQ(load_edited(same).tokenizer.eos_ids(), std::vector<TokenId>{2});
}

TEST(GgufModel, of_an_unknown_architecture_is_refused_by_its_name) {
  auto message = refusal<UnsupportedError>({{"general.architecture", std::string("rwkv7")}});
  EXPECT_TRUE(message.starts_with("model_type: not supported;")) << message;
  EXPECT_NE(message.find("found \"rwkv7\""), message.npos) << message;
  // Registered, but nobody knows how its tensors are called.
  message = refusal<UnsupportedError>({{"general.architecture", std::string("gpt_oss")}});
  EXPECT_NE(message.find("GGUF architecture not supported; expected llama, qwen2, qwen3, "),
            message.npos)
      << message;
  EXPECT_TRUE(message.ends_with("found gpt_oss")) << message;
}

TEST(GgufModel, with_experts_is_refused_before_its_size_is_looked_at) {
  auto message =
      refusal<UnsupportedError>({{"llama.expert_count", std::uint64_t{8}}}, {.memory_limit = 1});
  EXPECT_NE(message.find("experts in a GGUF file are not supported"), message.npos) << message;
  EXPECT_EQ(refusal<Error>({{"llama.expert_count", std::uint64_t{0}}}), "no error");
}

TEST(GgufModel, without_a_key_that_it_must_have_is_refused_by_that_key) {
  for (auto key : {"general.architecture",
                   "llama.embedding_length",
                   "llama.block_count",
                   "llama.feed_forward_length",
                   "llama.attention.head_count",
                   "llama.context_length",
                   "llama.attention.layer_norm_rms_epsilon",
                   "tokenizer.ggml.model",
                   "tokenizer.ggml.tokens"}) {
    auto message = refusal<WeightError>({{key, {}}});
    EXPECT_NE(message.find(key), message.npos) << key << ": " << message;
  }
}

TEST(GgufModel, with_a_key_of_the_wrong_kind_is_refused_by_that_key) {
  for (auto key : {"llama.embedding_length",
                   "llama.attention.head_count_kv",
                   "llama.attention.key_length",
                   "llama.rope.freq_base",
                   "llama.rope.dimension_count",
                   "llama.expert_count",
                   "tokenizer.ggml.tokens",
                   "tokenizer.ggml.eos_token_id"}) {
    auto message = refusal<WeightError>({{key, std::string("x")}});
    EXPECT_NE(message.find(key), message.npos) << key << ": " << message;
  }
  for (auto key : {"llama.embedding_length", "llama.block_count", "llama.attention.key_length"}) {
    auto message = refusal<WeightError>({{key, std::uint64_t{1} << 60}});
    EXPECT_NE(message.find(key), message.npos) << key << ": " << message;
  }
  auto message = refusal<WeightError>({{"tokenizer.ggml.eos_token_id", std::int64_t{-1}}});
  EXPECT_NE(message.find("tokenizer.ggml.eos_token_id"), message.npos) << message;
}

TEST(GgufModel, with_sizes_out_of_range_is_refused) {
  auto message = refusal<WeightError>({{"llama.attention.head_count", std::uint64_t{0}}});
  EXPECT_NE(message.find("llama.attention.head_count: out of range"), message.npos) << message;
  for (auto key : {"llama.embedding_length",
                   "llama.block_count",
                   "llama.feed_forward_length",
                   "llama.attention.head_count",
                   "llama.attention.head_count_kv",
                   "llama.attention.key_length",
                   "llama.context_length",
                   "llama.rope.dimension_count"})
    for (auto value :
         {Value(std::uint64_t{0}), Value(std::int64_t{-8}), Value(std::uint64_t{1} << 30)}) {
      if (key == std::string("llama.context_length") && value == Value(std::uint64_t{1} << 30))
        continue;  // long, but allowed
      EXPECT_NE(refusal<Error>({{key, value}}), "no error") << key << " " << value.index();
    }
}

/// One file of each architecture that llama.cpp's converter wrote.
std::vector<std::string> converted_rows() {
  std::vector<std::string> rows;
  for (auto& file : test::golden_files())
    if (file.stem().string().ends_with("_gguf_plain")) rows.push_back(file.stem().string());
  return rows;
}

/// Whatever a number says: the file is read, or an error of ours tells why not.
class EveryNumber : public testing::TestWithParam<std::string> {};

TEST_P(EveryNumber, of_the_metadata_may_be_wrong) {
  auto g = io::Gguf::open(gguf_of(GetParam()));
  auto prefix = g.need<std::string>("general.architecture") + ".";
  int numbers = 0;
  for (auto& entry : g.metadata()) {
    bool number = std::holds_alternative<std::uint64_t>(entry.value) ||
                  std::holds_alternative<std::int64_t>(entry.value);
    if (!number || !entry.key.starts_with(prefix)) continue;
    ++numbers;
    for (std::int64_t value : {0ll, 3ll, 1ll << 30, (1ll << 31) - 1, -(1ll << 31)}) {
      Edited file(GetParam(), {{std::string(entry.key), value}});
      EXPECT_NO_THROW(message_of<Error>([&] { load_edited(file); })) << entry.key << " " << value;
    }
  }
  EXPECT_GT(numbers, 5);
}

INSTANTIATE_TEST_SUITE_P(Row, EveryNumber, testing::ValuesIn(converted_rows()), [](auto& row) {
  return row.param;
});

TEST(GgufModel, of_other_sizes_than_its_tensors_is_refused) {
  for (auto& [key, value] :
       std::map<std::string, std::uint64_t>{{"llama.embedding_length", 64},
                                            {"llama.block_count", 1},
                                            {"llama.block_count", 3},
                                            {"llama.feed_forward_length", 32},
                                            {"llama.attention.head_count_kv", 1},
                                            {"llama.attention.key_length", 16}})
    EXPECT_NE(refusal<WeightError>({{key, value}}), "no error") << key << " " << value;
}

TEST(GgufModel, with_a_scaling_that_is_not_known_is_refused_by_its_name) {
  auto message = refusal<UnsupportedError>({{"llama.rope.scaling.type", std::string("longrope")}});
  EXPECT_TRUE(
      message.ends_with("llama.rope.scaling.type: not supported; expected none, linear or "
                        "yarn, found longrope"))
      << message;
  for (auto type : {"linear", "yarn"}) {
    message = refusal<WeightError>({{"llama.rope.scaling.type", std::string(type)}});
    EXPECT_NE(message.find("llama.rope.scaling.factor"), message.npos) << message;
    for (double factor : {0.0, -1.0})
      EXPECT_NE(refusal<ConfigError>({{"llama.rope.scaling.type", std::string(type)},
                                      {"llama.rope.scaling.factor", factor}}),
                "no error")
          << type << factor;
  }
}

TEST(GgufModel, with_wavelength_factors_of_another_shape_is_refused) {
  auto renamed = [](const std::string& tensor) {
    Edited file("q8_0", {}, {{tensor, "rope_freqs.weight"}});
    return message_of<Error>([&] { load_edited(file); });
  };
  EXPECT_NE(renamed("output_norm.weight"), "no error");  // 32 factors for 4 frequencies
  EXPECT_NE(renamed("blk.1.ffn_up.weight").find("expected F32, found Q8_0"), std::string::npos);
}

TEST(GgufModel, with_tensors_that_have_no_place_is_refused_by_their_names) {
  for (auto name :
       {"blk.0.attn_sinks.weight", "blk.x.attn_q.weight", "blk.", "v.patch_embd", "blk.0"}) {
    Edited file("q8_0", {}, {{"blk.0.attn_norm.weight", name}});
    auto message = message_of<WeightError>([&] { load_edited(file); });
    EXPECT_NE(message.find("input_layernorm.weight: missing"), message.npos) << message;
  }
  Edited file("q8_0", {{"llama.block_count", std::uint64_t{1}}});
  auto message = message_of<WeightError>([&] { load_edited(file); });
  EXPECT_NE(message.find("model.layers.1."), message.npos) << message;
  // All but the first layer predict further tokens: they are left out, and no more.
  Edited further("q8_0", {{"llama.nextn_predict_layers", std::uint64_t{1}}});
  EXPECT_EQ(message_of<WeightError>([&] { load_edited(further); }), "no error");
  EXPECT_GT(difference(further, "q8_0"), 1e-3f);
  Edited headless("q8_0", {}, {{"token_embd.weight", "tok_embeddings.weight"}});
  message = message_of<WeightError>([&] { load_edited(headless); });
  EXPECT_NE(message.find("token_embd.weight: missing or not a matrix"), message.npos) << message;
}

}  // namespace
}  // namespace mlxcpp::lm
