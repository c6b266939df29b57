// --adapter-path and `mlxcpp fuse`.
#include "mlxcpp/io/fields.h"
#include "tests/apps/run.h"
#include "tests/support/adapter_golden.h"
#include "tests/support/temp_dir.h"

#include <mlx/io.h>
#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <string>

namespace mlxcpp::test {
namespace {

namespace fs = std::filesystem;

class AdapterPath : public testing::Test {
 protected:
  AdapterPath() {
    fs::create_directory(dir.path() / "model");
    write_model(dir.path() / "model", a.row());
    a.write(dir.path() / "adapter");
  }
  std::string path(const char* name) const { return (dir.path() / name).string(); }
  array logits(const std::string& model, Args more = {}) const {
    std::string ids;
    for (int id : a.golden.ids("ids")) ids += (ids.empty() ? "" : ",") + std::to_string(id);
    auto out = path("out.safetensors");
    Args args = {"logits", "--model", model, "--tokens", ids, "--out", out};
    args.insert(args.end(), more.begin(), more.end());
    Ran ran = run(args);
    EXPECT_EQ(ran.code, 0) << ran.err;
    array y = mx::load_safetensors(out).first.at("logits");
    y.eval();
    return y;
  }

  /// One for the tiny model: a projection of its first layer.
  std::string tiny_adapter() const {
    fs::create_directory(dir.path() / "tiny");
    std::ofstream(dir.path() / "tiny" / "adapter_config.json")
        << R"({"num_layers": -1, "lora_parameters": {"rank": 2, "scale": 8, "dropout": 0}})";
    const std::string module = "model.layers.0.self_attn.q_proj";
    mx::save_safetensors(path("tiny/adapters.safetensors"),
                         {{module + ".lora_a", seeded_tensor("a", {32, 2})},
                          {module + ".lora_b", seeded_tensor("b", {2, 32})}});
    return path("tiny");
  }

  AdapterGolden a{"lora_keys"};
  TempDir dir;
};

TEST_F(AdapterPath, gives_the_references_logits) {
  array found = logits(path("model"), {"--adapter-path", path("adapter")});
  EXPECT_LT(relative_difference(found, a.golden.at("logits")), 2e-4f);
  EXPECT_GT(relative_difference(logits(path("model")), a.golden.at("logits")), 0.01f);
}

TEST_F(AdapterPath, is_heard_by_every_verb_that_runs_a_model) {
  auto adapter = tiny_adapter();
  auto text = dir.write("a.txt", "one two three four five six seven eight").string();
  Args const verbs[] = {{"generate", "--prompt", "Hello", "--max-tokens", "3", "--json"},
                        {"perplexity", "--data-path", text, "--sequence-length", "8", "--json"}};
  for (Args verb : verbs) {
    verb.insert(verb.end(), {"--model", tiny_model().string()});
    Ran plain = run(verb);
    EXPECT_EQ(plain.code, 0) << plain.err;
    verb.insert(verb.end(), {"--adapter-path", adapter});
    Ran ran = run(verb);
    EXPECT_EQ(ran.code, 0) << ran.err;
    if (verb[0] != "perplexity") continue;
    double before = 0, after = 0;
    io::Fields::parse(plain.out).need("perplexity", &before);
    io::Fields::parse(ran.out).need("perplexity", &after);
    EXPECT_GT(std::abs(before - after), 1e-3 * before);
  }
  Ran chat = run({"chat", "--model", tiny_model(), "--max-tokens", "2", "--adapter-path", adapter},
                 {.input = "Hi\n"});
  EXPECT_EQ(chat.code, 0) << chat.err;
  for (const char* verb : {"generate", "chat"}) {
    Args args = {verb, "--model", tiny_model(), "--adapter-path", path("none")};
    if (verb == std::string("generate")) args.insert(args.end(), {"--prompt", "x"});
    EXPECT_EQ(run(args, {.input = "Hi\n"}).code, 5) << verb;
  }
}

TEST_F(AdapterPath, of_another_model_is_a_load_error_that_names_the_module) {
  AdapterGolden other("lora_experts");
  other.write(dir.path() / "other");
  Ran ran =
      run({"generate", "--model", tiny_model(), "--prompt", "x", "--adapter-path", path("other")});
  EXPECT_EQ(ran.code, 4);
  EXPECT_NE(ran.err.find("no such projection in the model"), std::string::npos) << ran.err;
}

TEST_F(AdapterPath, is_fused_into_a_model_of_its_own) {
  Args args = {"fuse",
               "--model",
               path("model"),
               "--adapter-path",
               path("adapter"),
               "--save-path",
               path("fused"),
               "--json"};
  Ran ran = run(args);
  ASSERT_EQ(ran.code, 0) << ran.err;
  auto json = io::Fields::parse(ran.out);
  std::vector<std::string> fused;
  std::string save_path;
  json.need("fused", &fused).need("save_path", &save_path);
  EXPECT_EQ(fused.size(), 4u);
  EXPECT_EQ(save_path, path("fused"));
  EXPECT_LT(relative_difference(logits(path("fused")), a.golden.at("logits")), 2e-4f);
  Ran again = run(args);
  EXPECT_EQ(again.code, 5) << again.err;
  EXPECT_EQ(run({"fuse",
                 "--model",
                 tiny_model(),
                 "--adapter-path",
                 path("adapter"),
                 "--save-path",
                 path("gguf")})
                .code,
            3);
}

}  // namespace
}  // namespace mlxcpp::test
