// Prompt-cache files of mlx-lm, gone on with; and our own against theirs (tools/oracle/caches.py).
//
// With MLXCPP_PROMPT_FILES in the environment, files that are written stay in that folder, for
// `caches.py read`.
#include "mlxcpp/lm/prompt_file.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/safetensors.h"
#include "mlxcpp/nn/safetensors_file.h"
#include "tests/lm/tiny_llama.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;
using test::Golden;
constexpr float kLogits = 1e-4f, kStates = 5e-5f;

fs::path file_of(const std::string& name) {
  return fs::path(MLXCPP_TEST_DATA) / "cache" / (name + ".safetensors");
}

std::shared_ptr<const LanguageModel> model_of(const Golden& expected) {
  if (expected.metadata.count("config"))
    return test::make_tiny_llama(expected.metadata.at("config"));
  test::TempDir dir;
  test::write_model(dir.path(),
                    test::golden_files(expected.metadata.at("row") + ".safetensors").at(0));
  ModelTypeRegistry registry;
  add_models(registry);
  return load_model(ModelConfiguration::from_directory(dir.path()), registry);
}

std::string name_of(const testing::TestParamInfo<std::string>& info) { return info.param; }

/// Of three further steps, against what mlx-lm gave.
float difference_going_on(const LanguageModel& model, Caches& caches, const Golden& expected) {
  std::vector<array> rows;
  for (int token : expected.ids("tokens")) rows.push_back(test::forward(model, caches, {token}));
  return test::relative_difference(mx::concatenate(rows, 0), expected.at("step_logits"));
}

/// Packed caches: mlx-lm packs each token at once, we the newest later.
float tolerance(const std::string& name) { return name.ends_with("quantized") ? 5e-3f : kLogits; }

/// A prompt of 24 at once, then single steps, as the script does.
std::shared_ptr<CachedPrompt> computed(const LanguageModel& model,
                                       const Golden& expected,
                                       const CacheOptions& options) {
  auto prompt = std::make_shared<CachedPrompt>(model, options);
  auto ids = expected.ids("ids");
  test::forward(model, prompt->caches, {ids.begin(), ids.begin() + 24});
  for (size_t i = 24; i < ids.size(); ++i) test::forward(model, prompt->caches, {ids[i]});
  prompt->ids.assign(ids.begin(), ids.end());
  return prompt;
}

class MlxLmFile : public testing::TestWithParam<std::string> {
 protected:
  Golden expected = Golden::read(file_of(GetParam() + "_expected"));
  std::shared_ptr<const LanguageModel> model = model_of(expected);
};

TEST_P(MlxLmFile, is_gone_on_with_as_mlx_lm_does) {
  auto loaded = load_prompt(file_of(GetParam()), *model, 7);
  auto ids = expected.ids("ids");
  // What is only a state does not say how old it is.
  size_t counted = GetParam().ends_with("mamba2") ? 0 : ids.size();
  EXPECT_EQ(loaded.prompt->caches.consumed(), std::vector<int>{int(counted)});
  EXPECT_EQ(loaded.prompt->ids, std::vector<TokenId>(counted, 7));
  EXPECT_FALSE(loaded.info.ids);
  EXPECT_LT(difference_going_on(*model, loaded.prompt->caches, expected), tolerance(GetParam()));
}

TEST_P(MlxLmFile, is_written_again_in_every_form_and_read_back) {
  auto loaded = load_prompt(file_of(GetParam()), *model);
  loaded.prompt->ids.assign(size_t(loaded.prompt->caches.consumed()[0]), 3);
  test::TempDir dir;
  auto path = dir.path() / "again.safetensors";
  for (auto form :
       {PromptFileForm::current, PromptFileForm::source_0_32, PromptFileForm::release_0_31}) {
    save_prompt(path, *model, *loaded.prompt, {.model = "x/y", .tokenizer_config = "{}"}, form);
    auto again = load_prompt(path, *model);
    EXPECT_EQ(again.info.model, "x/y");
    EXPECT_EQ(again.info.tokenizer_config, "{}");
    EXPECT_EQ(again.prompt->ids, loaded.prompt->ids);
    EXPECT_LT(difference_going_on(*model, again.prompt->caches, expected), tolerance(GetParam()))
        << int(form);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds,
                         MlxLmFile,
                         testing::Values("kv",
                                         "kv_chunked",
                                         "sliding",
                                         "rotating_keep0",
                                         "rotating_keep4",
                                         "rotating_keep4_chunked",
                                         "rotating_partial",
                                         "quantized",
                                         "v31_quantized",
                                         "v31_kv",
                                         "v31_rotating_keep4"),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Models,
                         MlxLmFile,
                         testing::Values("of_deepseek_v3",
                                         "of_deepseek_v32",
                                         "of_falcon_h1",
                                         "of_gemma3_text",
                                         "of_gemma3n",
                                         "of_gemma4_text",
                                         "of_gpt_oss",
                                         "of_lfm2",
                                         "of_llama4",
                                         "of_mamba2",
                                         "of_nemotron_h",
                                         "of_phi3",
                                         "of_qwen3_5",
                                         "of_qwen3_next",
                                         "v31_falcon_h1",
                                         "v31_mamba2",
                                         "v32_deepseek_v32",
                                         "v32_falcon_h1",
                                         "v32_llama4"),
                         name_of);

/// What we write, held against what mlx-lm wrote of the same tokens.
class OurFile : public testing::TestWithParam<std::string> {};

TEST_P(OurFile, has_the_arrays_and_texts_of_mlx_lms) {
  auto name = GetParam();
  Golden expected = Golden::read(file_of(name + "_expected")), theirs = Golden::read(file_of(name));
  auto model = model_of(expected);
  auto prompt = computed(*model, expected, {});
  test::TempDir dir;
  const char* kept = std::getenv("MLXCPP_PROMPT_FILES");
  fs::path folder = kept ? fs::path(kept) : dir.path();
  auto form = name.starts_with("v31_")   ? PromptFileForm::release_0_31
              : name.starts_with("v32_") ? PromptFileForm::source_0_32
                                         : PromptFileForm::current;
  auto path = folder / (name + ".safetensors");
  save_prompt(path, *model, *prompt, {.model = expected.metadata.at("row")}, form);
  Golden ours = Golden::read(path);
  auto user = form == PromptFileForm::current ? "0.mlxcpp_" : "1.mlxcpp_";
  EXPECT_EQ(std::erase_if(ours.metadata, [&](auto& text) { return text.first.starts_with(user); }),
            2u);
  for (auto& [key, text] : theirs.metadata) {
    if (name.ends_with("llama4") && key.starts_with("0.") && key.ends_with(".1"))
      continue;  // start
    EXPECT_EQ(ours.metadata[key], text) << key;
  }
  EXPECT_EQ(ours.metadata.size(), theirs.metadata.size());
  EXPECT_EQ(ours.tensors.size(), theirs.tensors.size());
  for (auto& [at, want] : theirs.tensors) {
    SCOPED_TRACE(at);
    ASSERT_TRUE(ours.tensors.count(at));
    auto& a = ours.at(at);
    EXPECT_EQ(a.dtype(), want.dtype());
    if (name.ends_with("llama4")) continue;  // its chunks begin at other tokens
    EXPECT_EQ(a.shape(), want.shape());
    bool ring = want.ndim() == 4 && theirs.tensors.count(at.substr(0, at.size() - 1) + "5");
    bool index = theirs.tensors.count(at.substr(0, at.size() - 1) + "6");
    if (ring || index || a.size() == 0 || a.ndim() == 0) continue;  // a ring begins elsewhere
    if (name.ends_with("deepseek_v32") && at.ends_with(".1.0.1")) continue;  // zeros there
    EXPECT_LT(test::relative_difference(a, want), kStates);
  }
}

INSTANTIATE_TEST_SUITE_P(Models,
                         OurFile,
                         testing::Values("of_deepseek_v3",
                                         "of_deepseek_v32",
                                         "of_falcon_h1",
                                         "of_gemma3_text",
                                         "of_gemma3n",
                                         "of_gemma4_text",
                                         "of_gpt_oss",
                                         "of_lfm2",
                                         "of_llama4",
                                         "of_mamba2",
                                         "of_nemotron_h",
                                         "of_phi3",
                                         "of_qwen3_5",
                                         "of_qwen3_next",
                                         "v31_falcon_h1",
                                         "v31_mamba2",
                                         "v32_deepseek_v32",
                                         "v32_falcon_h1"),
                         name_of);

/// Rings and packed caches, which mlx-lm's models do not make by themselves; and chunks, before
/// their first one is full and later.
struct Chosen {
  std::string name, class_name;
  CacheOptions options;
  PromptFileForm form = PromptFileForm::current;
  std::string row = "llama_wide_heads";
  int tokens = 24;
};
void PrintTo(const Chosen& chosen, std::ostream* out) { *out << chosen.name; }
class ChosenFile : public testing::TestWithParam<Chosen> {};

TEST_P(ChosenFile, holds_the_caches_that_were_chosen) {
  auto& chosen = GetParam();
  auto golden = test::golden_files(chosen.row + ".safetensors").at(0);
  test::TempDir dir;
  test::write_model(dir.path(), golden);
  ModelTypeRegistry registry;
  add_models(registry);
  auto model = load_model(ModelConfiguration::from_directory(dir.path()), registry);
  auto rows = Golden::read(golden);
  auto prompt = std::make_shared<CachedPrompt>(*model, chosen.options);
  auto ids = rows.ids("ids");
  ids.resize(size_t(chosen.tokens));
  test::forward(*model, prompt->caches, ids);
  prompt->ids.assign(ids.begin(), ids.end());
  const char* kept = std::getenv("MLXCPP_PROMPT_FILES");
  auto path = (kept ? fs::path(kept) : dir.path()) / (chosen.name + ".safetensors");
  save_prompt(path, *model, *prompt, {.model = chosen.row}, chosen.form);
  // Of a model of chunks the last layer sees everything.
  auto file = PromptFile::read(path);
  bool chunks = chosen.class_name == "ChunkedKVCache";
  for (auto& s : file.caches)
    EXPECT_EQ(s.class_name, chunks && &s == &file.caches.back() ? "KVCache" : chosen.class_name);
  auto again = load_prompt(path, *model).prompt;
  EXPECT_EQ(again->ids, prompt->ids);
  EXPECT_EQ(again->options.max_kv_size, chosen.options.max_kv_size);
  EXPECT_EQ(again->options.quant.k_bits, chosen.options.quant.k_bits);
  EXPECT_EQ(again->options.quant.v_bits, chosen.options.quant.v_bits);
  auto saved = prompt->caches.state(), read = again->caches.state();
  ASSERT_EQ(saved.size(), read.size());
  for (size_t i = 0; i < saved.size(); ++i) {
    EXPECT_EQ(saved[i].numbers, read[i].numbers);
    ASSERT_EQ(saved[i].arrays.size(), read[i].arrays.size());
    for (size_t k = 0; k < saved[i].arrays.size(); ++k)
      EXPECT_TRUE(mx::array_equal(*saved[i].arrays[k], *read[i].arrays[k]).item<bool>());
  }
  // What is newest is not packed yet, but in the file.
  float most = chosen.options.quant.packs() ? 0.5f : kLogits;
  for (int token : rows.ids("tokens"))
    EXPECT_LT(test::relative_difference(test::forward(*model, again->caches, {token}),
                                        test::forward(*model, prompt->caches, {token})),
              most);
}

constexpr KvQuant kPacked = {.k_bits = 8, .v_bits = 8, .group_size = 32},
                  kMixed = {.k_bits = 8, .v_bits = 4, .group_size = 32},
                  kHalf = {.k_bits = 0, .v_bits = 8, .group_size = 32};
INSTANTIATE_TEST_SUITE_P(
    Kinds,
    ChosenFile,
    testing::Values(
        Chosen{"ring", "RotatingKVCache", {.max_kv_size = 16, .keep = 4}},
        Chosen{"chunked", "ChunkedKVCache", {}, PromptFileForm::current, "llama4_plain", 21},
        Chosen{"chunked_partly", "ChunkedKVCache", {}, PromptFileForm::current, "llama4_plain", 5},
        Chosen{
            "v31_chunked", "ChunkedKVCache", {}, PromptFileForm::release_0_31, "llama4_plain", 21},
        Chosen{
            "v32_chunked", "ChunkedKVCache", {}, PromptFileForm::source_0_32, "llama4_plain", 21},
        Chosen{"packed", "QuantizedKVCache", {.quant = kPacked}},
        Chosen{"v31_packed", "QuantizedKVCache", {.quant = kPacked}, PromptFileForm::release_0_31},
        Chosen{"own_mixed", "QuantizedKVCache", {.quant = kMixed}},
        Chosen{"own_half", "QuantizedKVCache", {.quant = kHalf}},
        Chosen{"own_packed_ring",
               "QuantizedRotatingKVCache",
               {.max_kv_size = 16, .keep = 4, .quant = kPacked}}),
    [](auto& chosen) { return chosen.param.name; });

TEST(PromptFile, every_class_of_mlx_lms_is_read_without_a_model) {
  auto file = PromptFile::read(file_of("classes"));
  ASSERT_EQ(file.caches.size(), 5u);
  EXPECT_TRUE(file.metadata.empty());
  auto &arrays = file.caches[0], &empty = file.caches[1], &chunked = file.caches[2],
       &pair = file.caches[3], &one = file.caches[4];
  EXPECT_EQ(arrays.class_name, "ArraysCache");
  ASSERT_EQ(arrays.arrays.size(), 3u);
  EXPECT_FALSE(arrays.arrays[1].has_value());
  EXPECT_EQ(arrays.arrays[2]->dtype(), mx::bfloat16);
  EXPECT_EQ(empty.class_name, "KVCache");
  EXPECT_FALSE(empty.arrays[0].has_value());
  EXPECT_EQ(chunked.numbers, (std::vector<int>{7, 4, 3}));
  ASSERT_EQ(pair.parts.size(), 2u);
  EXPECT_EQ(pair.parts[1].numbers, (std::vector<int>{3, 1, 4, 3}));
  EXPECT_EQ(one.class_name, "KVCache");
  EXPECT_EQ(one.numbers, std::vector<int>{3});
}

/// A file of mlx-lm's, with something wrong in it.
class BadPromptFile : public testing::Test {
 protected:
  BadPromptFile() {
    auto golden = Golden::read(file_of("kv"));
    arrays.insert(golden.tensors.begin(), golden.tensors.end());
    texts.insert(golden.metadata.begin(), golden.metadata.end());
  }
  std::string refusal() {
    auto path = dir.path() / "bad.safetensors";
    nn::write_safetensors(path, arrays, texts);
    auto message = test::message_of<InputError>([&] { load_prompt(path, *model); });
    auto start = path.string() + ": ";
    EXPECT_TRUE(message.starts_with(start)) << message;
    return message.substr(std::min(start.size(), message.size()));
  }
  std::shared_ptr<const LanguageModel> model = model_of(Golden::read(file_of("kv_expected")));
  std::unordered_map<std::string, array> arrays;
  std::unordered_map<std::string, std::string> texts;
  test::TempDir dir;
};

TEST_F(BadPromptFile, that_is_no_prompt_cache_is_refused) {
  texts.clear();
  EXPECT_EQ(refusal(), "no prompt cache; expected a file that cache-prompt wrote");
}

TEST_F(BadPromptFile, of_a_class_that_is_not_known_is_refused) {
  texts["1.1"] = "TurboCache";
  EXPECT_EQ(refusal(),
            "cache 1: class not known; expected KVCache, RotatingKVCache, QuantizedKVCache, "
            "ChunkedKVCache, ArraysCache or CacheList, found TurboCache");
}

TEST_F(BadPromptFile, of_another_class_than_the_layer_has_is_refused) {
  texts["1.0"] = texts["1.1"] = "ArraysCache";
  arrays = {{"0.0.0", mx::ones({1, 2})}, {"1.0.0", mx::ones({1, 2})}};
  for (auto at : {"0.1", "0.2", "1.1", "1.2"}) arrays.emplace(at, mx::zeros({0}));
  std::erase_if(texts, [](auto& t) { return t.first.starts_with("2.") && t.first != "2.0"; });
  EXPECT_EQ(refusal(), "cache state: wrong class; expected KVCache, found ArraysCache");
}

TEST_F(BadPromptFile, with_missing_arrays_is_refused) {
  arrays.erase("1.1");
  EXPECT_EQ(refusal(), "cache 1.1: missing array");
  arrays.erase("1.2");
  EXPECT_EQ(refusal(), "cache 1.2: missing array");
}

TEST_F(BadPromptFile, with_an_array_too_many_is_refused) {
  arrays.emplace("7.0", mx::ones({1}));
  EXPECT_EQ(refusal(), "cache 7.0: an array that no cache has");
}

TEST_F(BadPromptFile, of_another_number_of_layers_is_refused) {
  texts.erase("1.1");
  std::erase_if(texts, [&](auto& t) {
    if (!t.first.starts_with("2.") || !t.first.ends_with(".0") || !t.second.starts_with("1."))
      return false;
    return true;
  });
  std::erase_if(arrays, [](auto& a) { return a.first.starts_with("1."); });
  EXPECT_EQ(refusal(),
            "prompt cache: another number of caches than the model's layers have; expected 2, "
            "found 1");
}

TEST_F(BadPromptFile, with_gaps_between_its_caches_is_refused) {
  texts["1.5"] = "KVCache";
  EXPECT_EQ(refusal(), "cache classes: not numbered from 0 without gaps");
}

TEST_F(BadPromptFile, with_wrong_dtypes_or_shapes_is_refused) {
  auto keys = arrays.at("0.0");
  arrays.insert_or_assign("0.0", mx::astype(keys, mx::int32));
  EXPECT_EQ(refusal(), "cache 0: wrong dtype; expected F32, F16 or BF16");
  arrays.insert_or_assign("0.0", mx::squeeze(keys, 0));
  EXPECT_EQ(refusal(), "cache 0: wrong number of dimensions; expected 4, found 3");
  arrays.insert_or_assign("0.0", mx::concatenate({keys, keys}, 3));
  EXPECT_NE(refusal().find("(1, heads, S, head size)"), std::string::npos);
  arrays.insert_or_assign("0.0", mx::astype(keys, mx::uint8));
  EXPECT_EQ(refusal(),
            "cache 0.0: dtype that no cache has; expected F32, F16, BF16, U32, I32 or I64, found "
            "U8");
  arrays.insert_or_assign("0.0", keys);
  arrays.insert_or_assign("0.2", mx::ones({2}, mx::int32));
  EXPECT_EQ(refusal(), "cache 0.2: no number; expected an integer");
  arrays.insert_or_assign("0.2", array(std::int64_t(1) << 40, mx::int64));
  EXPECT_EQ(refusal(), "cache 0.2: out of range; expected an int, found 1099511627776");
  arrays.insert_or_assign("0.2", array(-5));
  EXPECT_EQ(refusal(), "cache state of class KVCache: a negative number");
  arrays.insert_or_assign("0.2", array(1 << 30));
  EXPECT_EQ(refusal(), "cache state of class KVCache: fewer keys than its offset");
}

TEST_F(BadPromptFile, with_unknown_kinds_of_values_is_refused) {
  texts["2.1.1"] = "tensor";
  EXPECT_EQ(refusal(),
            "cache 0.2: stands for what is not known; expected scalar, string or none, found "
            "tensor");
}

TEST_F(BadPromptFile, with_bad_ids_is_refused) {
  texts["0.mlxcpp_tokens"] = "1 2 x";
  EXPECT_EQ(refusal(), "mlxcpp_tokens: no list of tokens; expected numbers with a blank between");
  texts["0.mlxcpp_tokens"] = "1 2 3";
  EXPECT_EQ(refusal(),
            "prompt cache: names of tokens do not match what was consumed; expected 29, found 3");
  texts["0.mlxcpp_tokens"] = "99999999999999999999";
  EXPECT_EQ(refusal(), "mlxcpp_tokens: no list of tokens; expected numbers with a blank between");
}

TEST_F(BadPromptFile, of_another_model_is_refused_by_both_names) {
  texts["0.mlxcpp_model"] = "0123456789abcdef";
  texts["0.model"] = "org/other";
  EXPECT_EQ(refusal(),
            "prompt cache: of another model; expected " + fingerprint_text(*model) +
                ", found 0123456789abcdef (org/other)");
}

TEST_F(BadPromptFile, that_claims_8_GiB_is_refused_before_anything_is_read) {
  std::string header =
      R"({"0.0":{"dtype":"F32","shape":[1,1,1048576,2048],"data_offsets":[0,8589934592]}})";
  std::uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), 8);
  auto path = dir.write("claims.safetensors", bytes + header + "1234");
  EXPECT_THROW(load_prompt(path, *model), WeightError);
  EXPECT_NE(test::message_of<IoError>([&] {
              PromptFile::read(file_of("kv"), 1000);
            }).find("file is too large; expected at most 1000 bytes"),
            std::string::npos);
}

TEST_F(BadPromptFile, leaves_what_was_there_when_it_can_not_be_written) {
  auto path = dir.write("kept.safetensors", "old");
  PromptFile file{{{.class_name = "TurboCache", .arrays = {}, .numbers = {}, .parts = {}}}, {}};
  EXPECT_THROW(file.write(path), UnsupportedError);
  PromptFile empty{{{.class_name = "KVCache", .arrays = {{}, {}}, .numbers = {0}, .parts = {}}},
                   {}};
  EXPECT_THROW(empty.write(path, PromptFileForm::release_0_31), UnsupportedError);
  EXPECT_EQ(io::read_text(path, 100), "old");
}

}  // namespace
}  // namespace mlxcpp::lm
