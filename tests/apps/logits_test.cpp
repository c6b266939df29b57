// `mlxcpp logits` against the reference's numbers (tools/oracle).
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "tests/apps/run.h"
#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"

#include <mlx/io.h>
#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <string>

namespace mlxcpp::test {
namespace {

namespace fs = std::filesystem;

std::string joined(const std::vector<int>& ids) {
  std::string text;
  for (int id : ids) {
    if (!text.empty()) text += ',';
    text += std::to_string(id);
  }
  return text;
}

class Logits : public testing::Test {
 protected:
  std::unordered_map<std::string, array> ask(const std::string& model, Args more) {
    Args args = {"logits", "--model", model, "--out", out(), "--tokens", joined(golden.ids("ids"))};
    args.insert(args.end(), more.begin(), more.end());
    Ran ran = run(args);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return mx::load_safetensors(out()).first;
  }
  std::string out() const { return (dir.path() / "out.safetensors").string(); }

  TempDir dir;
  Golden golden = Golden::read(MLXCPP_TEST_DATA "/lm/llama_gguf_f32.safetensors");
};

TEST_F(Logits, of_all_positions_equal_the_references_whole_or_in_pieces) {
  for (const char* chunk : {"0", "1", "7", "24", "1000"}) {
    auto found = ask(tiny_model(), {"--chunk", chunk});
    EXPECT_EQ(found.size(), 1u);
    EXPECT_EQ(found.at("logits").dtype(), mx::float32);
    EXPECT_LT(relative_difference(found.at("logits"), golden.at("logits")), 1e-4f) << chunk;
  }
}

TEST_F(Logits, of_the_greedy_continuation_equal_the_references) {
  auto found = ask(tiny_model(), {"--steps", "8"});
  const array& tokens = found.at("tokens");
  EXPECT_EQ(tokens.dtype(), mx::int32);
  EXPECT_TRUE(mx::array_equal(tokens, golden.at("tokens")).item<bool>());
  const array &logits = found.at("logits"), &steps = found.at("step_logits");
  EXPECT_EQ(steps.shape(), (mx::Shape{8, 288}));
  array last = mx::take(logits, array(23), 0);
  EXPECT_TRUE(mx::array_equal(mx::take(steps, array(0), 0), last).item<bool>());
}

TEST_F(Logits, need_no_tokenizer) {
  golden = Golden::read(MLXCPP_TEST_DATA "/lm/llama_plain.safetensors");
  fs::path model = dir.path() / "model";
  fs::create_directory(model);
  io::write_atomically(model / "config.json", golden.metadata.at("config"));
  auto shapes = io::Fields::parse(golden.metadata.at("weight_shapes"));
  std::unordered_map<std::string, array> weights;
  for (auto& name : shapes.keys()) {
    std::vector<int> shape;
    shapes.need(name, &shape);
    weights.emplace(name, seeded_tensor(name, mx::Shape(shape.begin(), shape.end())));
  }
  mx::save_safetensors((model / "model.safetensors").string(), weights);
  auto found = ask(model, {});
  EXPECT_LT(relative_difference(found.at("logits"), golden.at("logits")), 1e-4f);
}

TEST_F(Logits, refuse_what_they_can_not_do) {
  auto code = [&](Args more) {
    Args args = {"logits", "--model", tiny_model(), "--out", out()};
    args.insert(args.end(), more.begin(), more.end());
    Ran ran = run(args);
    EXPECT_FALSE(fs::exists(out()));
    return ran.code;
  };
  EXPECT_EQ(code({"--tokens", "288"}), 2);
  EXPECT_EQ(code({"--tokens", "1,x"}), 2);
  EXPECT_EQ(code({"--tokens", "1", "--chunk", "-1"}), 2);
  EXPECT_EQ(code({"--tokens", "1", "--steps", "-1"}), 2);
  EXPECT_EQ(code({"--tokens", "1", "--prompt-cache", "x"}), 3);
  EXPECT_EQ(code({}), 2);
}

}  // namespace
}  // namespace mlxcpp::test
