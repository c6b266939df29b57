// What a loaded model offers as a whole.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/loaded_model.h"
#include "mlxcpp/lm/model.h"
#include "tests/support/golden.h"
#include "tests/support/script_model.h"
#include "tests/support/temp_dir.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <sstream>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;
using test::Golden;
constexpr const char* kData = MLXCPP_TEST_DATA;
const fs::path kPlain = fs::path(kData) / "lm/llama_plain.safetensors";

ModelTypeRegistry builtin() {
  ModelTypeRegistry registry;
  add_models(registry);
  return registry;
}

/// The first case of what Hugging Face's tokenizer gives for gpt2.json.
struct EncodedText {
  std::string text;
  std::vector<TokenId> ids;

  EncodedText() {
    std::ostringstream json;
    json << std::ifstream(std::string(kData) + "/text/gpt2.expected.json").rdbuf();
    auto cases = io::Fields::parse(json.str()).objects("cases");
    std::string hex;
    std::vector<int> want;
    cases.at(0).need("hex", &hex).need("ids", &want);
    for (size_t i = 0; i < hex.size(); i += 2)
      text += char(std::stoi(hex.substr(i, 2), nullptr, 16));
    ids.assign(want.begin(), want.end());
  }
};

class Context : public testing::Test {
 protected:
  Context() {
    test::write_model(dir.path(), kPlain);
    dir.write("tokenizer_config.json",
              R"({"eos_token": "<|endoftext|>", "chat_template":
                  "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if )"
              R"(add_generation_prompt %}[assistant]{% endif %}"})");
    dir.write("generation_config.json", R"({"temperature": 0.5})");
  }
  ModelContext context() {
    return ModelContext::load(ModelConfiguration::from_directory(dir.path()), builtin());
  }
  test::TempDir dir;
};

TEST_F(Context, encodes_and_decodes_as_its_tokenizer) {
  auto c = context();
  EncodedText want;
  EXPECT_EQ(c.encode(want.text), want.ids);
  EXPECT_EQ(c.encode(want.text, false), want.ids);
  EXPECT_EQ(c.decode(want.ids), want.text);
  auto with_end = want.ids;
  with_end.push_back(500);
  EXPECT_EQ(c.decode(with_end), want.text + "<|endoftext|>");
  EXPECT_EQ(c.decode(with_end, true), want.text);
}

TEST_F(Context, renders_the_chat_template) {
  auto c = context();
  std::string messages = R"([{"role": "user", "content": "Hi"}])";
  EXPECT_EQ(c.apply_chat_template(messages), "[user]Hi[assistant]");
  EXPECT_EQ(c.apply_chat_template(messages, {.add_generation_prompt = false}), "[user]Hi");
  EXPECT_EQ(c.apply_chat_template_ids(messages), c.encode("[user]Hi[assistant]", false));
  EXPECT_EQ(c.apply_chat_template_ids(messages, {.add_generation_prompt = false}),
            c.encode("[user]Hi", false));
}

TEST_F(Context, continues_greedily_as_mlx_lm_from_a_fresh_cache_each_time) {
  auto c = context();
  auto g = Golden::read(kPlain);
  auto prompt = g.ids("ids"), want = g.ids("tokens");
  GenerateOptions options;
  options.max_tokens = int(want.size());
  options.ignore_eos = true;
  for (int i = 0; i < 2; ++i) {
    auto stream = c.stream_generate({prompt.begin(), prompt.end()}, options);
    std::vector<int> got;
    while (auto event = stream.next())
      if (event->token) got.push_back(int(*event->token));
    EXPECT_EQ(got, want);
    auto all = c.generate({prompt.begin(), prompt.end()}, options);
    EXPECT_EQ(std::vector<int>(all.tokens.begin(), all.tokens.end()), want);
  }
}

TEST_F(Context, refuses_what_its_parts_refuse_and_goes_on) {
  auto c = context();
  auto prompt = Golden::read(kPlain).ids("ids");
  std::vector<TokenId> ids(prompt.begin(), prompt.end());
  GenerateOptions options;
  options.max_tokens = 3;
  options.ignore_eos = true;
  auto want = c.generate(ids, options).tokens;
  std::string messages = R"([{"role": "user", "content": "Hi"}])";
  EXPECT_THROW(c.apply_chat_template("{}"), InputError);
  EXPECT_THROW(c.apply_chat_template(
                   messages, {.add_generation_prompt = true, .continue_final_message = true}),
               InputError);
  EXPECT_THROW(c.apply_chat_template_ids(
                   messages, {.add_generation_prompt = true, .continue_final_message = true}),
               InputError);
  EXPECT_THROW(c.generate({}, options), InputError);
  EXPECT_THROW(c.generate({TokenId(c.model().vocab_size())}, options), InputError);
  auto bad = options;
  bad.sample.temperature = -1;
  EXPECT_THROW(c.stream_generate(ids, bad), InputError);
  EXPECT_EQ(c.generate(ids, options).tokens, want);
}

TEST_F(Context, without_a_chat_template_says_so) {
  dir.write("tokenizer_config.json", "{}");
  auto c = context();
  EXPECT_THROW(c.apply_chat_template("[]"), Error);
  EXPECT_THROW(c.apply_chat_template_ids("[]"), Error);
}

TEST_F(Context, streams_outlive_it) {
  auto g = Golden::read(kPlain);
  auto prompt = g.ids("ids"), want = g.ids("tokens");
  GenerateOptions options;
  options.max_tokens = int(want.size());
  options.ignore_eos = true;
  auto stream = [&] {
    auto c = context();
    return c.stream_generate({prompt.begin(), prompt.end()}, options);
  }();
  std::vector<int> got;
  while (auto event = stream.next())
    if (event->token) got.push_back(int(*event->token));
  EXPECT_EQ(got, want);
}

TEST_F(Context, two_streams_at_once_do_not_see_each_other) {
  auto c = context();
  auto g = Golden::read(kPlain);
  auto prompt = g.ids("ids"), want = g.ids("tokens");
  GenerateOptions options;
  options.max_tokens = int(want.size());
  options.ignore_eos = true;
  auto a = c.stream_generate({prompt.begin(), prompt.end()}, options);
  auto b = c.stream_generate({prompt.begin() + 1, prompt.end()}, options);
  std::vector<int> got;
  while (auto event = a.next()) {
    if (event->token) got.push_back(int(*event->token));
    b.next();
  }
  EXPECT_EQ(got, want);
}

TEST_F(Context, is_made_from_what_load_gives) {
  auto loaded = load(ModelConfiguration::from_directory(dir.path().string()), builtin());
  auto model = loaded.model;
  ModelContext c(std::move(loaded));
  EXPECT_EQ(c.shared_model(), model);
  EXPECT_EQ(c.config().model_type, "llama");
  EXPECT_EQ(c.tokenizer().vocab_size(), 501u);
  EXPECT_EQ(c.generation_defaults().temperature, 0.5f);
}

TEST_F(Context, gives_its_parts_up) {
  auto c = context();
  EXPECT_EQ(c.config().model_type, "llama");
  EXPECT_EQ(c.generation_defaults().temperature, 0.5f);
  auto model = c.shared_model();
  EXPECT_EQ(&c.model(), model.get());
  auto parts = std::move(c).into_parts();
  EXPECT_EQ(parts.model, model);
  EXPECT_EQ(parts.config.model_type, "llama");
  EXPECT_EQ(parts.tokenizer.vocab_size(), 501u);
  EXPECT_EQ(parts.generation_defaults.temperature, 0.5f);
  ModelContext again(model, parts.tokenizer, parts.config);
  EXPECT_EQ(again.shared_model(), model);
  EXPECT_EQ(again.generation_defaults().temperature, std::nullopt);
}

TEST_F(Context, reads_all_weights_on_demand_and_tells_how_far_it_is) {
  auto c = context();
  std::uint64_t bytes = 0;
  auto shapes = io::Fields::parse(Golden::read(kPlain).metadata.at("weight_shapes"));
  for (auto& name : shapes.keys()) {
    std::vector<int> shape;
    shapes.need(name, &shape);
    bytes += std::accumulate(shape.begin(), shape.end(), std::uint64_t{4}, std::multiplies<>());
  }
  std::vector<std::pair<std::uint64_t, std::uint64_t>> reports;
  c.materialize(
      [&](std::uint64_t done, std::uint64_t total) { reports.emplace_back(done, total); });
  ASSERT_FALSE(reports.empty());
  EXPECT_EQ(reports.back(), std::pair(bytes, bytes));
  for (auto& [name, p] : c.model().manifest().params) EXPECT_TRUE(p->is_available()) << name;
  c.materialize();
}

TEST(ModelContext, reports_large_weights_piece_by_piece) {
  LoadedModel loaded;
  loaded.config_json = R"({"model_type": "large"})";
  for (auto name : {"a", "b", "c", "d", "e"})
    loaded.weights.emplace(name, mx::zeros({10, 1 << 20}));  // 40 MiB, one number in memory
  auto make = [](io::Fields, nn::WeightMap& w) -> std::unique_ptr<LanguageModel> {
    for (auto name : {"a", "b", "c", "d", "e"}) nn::Scope(w).take(name, {10, 1 << 20});
    return std::make_unique<test::ScriptModel>(std::vector<int>{0}, 8);
  };
  test::TempDir dir;
  fs::copy_file(fs::path(kData) / "text/gpt2.json", dir.path() / "tokenizer.json");
  ModelContext c(bind(loaded, make), text::Tokenizer::from_directory(dir.path()), loaded.config);
  std::vector<std::uint64_t> done;
  c.materialize([&](std::uint64_t d, std::uint64_t total) {
    done.push_back(d >> 20);
    EXPECT_EQ(total >> 20, 200u);
  });
  EXPECT_EQ(done, (std::vector<std::uint64_t>{80, 160, 200}));
}

}  // namespace
}  // namespace mlxcpp::lm
