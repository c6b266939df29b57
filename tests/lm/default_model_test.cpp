// The default model against mlx-lm in float32 on the same weights (tools/oracle/greedy.py).
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/hub.h"
#include "mlxcpp/lm/factory.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace mlxcpp::lm {
namespace {

struct Prompt {
  std::string messages, prompt_text, text;
  std::vector<int> prompt_ids, output_ids;

  void fields(io::Fields& f) {
    messages = f.json_text("messages").value();
    f.need("prompt_text", &prompt_text).need("text", &text);
    f.need("prompt_ids", &prompt_ids).need("output_ids", &output_ids);
  }
};

class DefaultModel : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(io::default_model_path()))
      GTEST_SKIP() << "the default model is not at " << io::default_model_path();
    auto file = io::Fields::parse(
        io::read_text(MLXCPP_TEST_DATA "/lm/default_model_greedy.json", io::kConfigLimit));
    prompt = io::read<Prompt>(file.objects("prompts").at(GetParam()));
  }
  static const ModelContext& model() {
    static const ModelContext m = [] {
      ModelTypeRegistry registry;
      add_models(registry);
      return ModelContext::load(ModelConfiguration::from_directory(io::default_model_path()),
                                registry);
    }();
    return m;
  }
  Prompt prompt;
};

TEST_P(DefaultModel, says_what_mlx_lm_says) {
  EXPECT_EQ(model().apply_chat_template(prompt.messages), prompt.prompt_text);
  auto ids = model().apply_chat_template_ids(prompt.messages);
  EXPECT_EQ(std::vector<int>(ids.begin(), ids.end()), prompt.prompt_ids);
  GenerateOptions o;
  o.max_tokens = 64;
  auto answer = model().generate(ids, o);
  EXPECT_EQ(std::vector<int>(answer.tokens.begin(), answer.tokens.end()), prompt.output_ids);
  EXPECT_EQ(answer.text, prompt.text);
}

INSTANTIATE_TEST_SUITE_P(Prompt, DefaultModel, testing::Range(0, 5));

}  // namespace
}  // namespace mlxcpp::lm
