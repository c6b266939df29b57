// Models with adapters in their weights, against mlx-lm's own fusing and PEFT's formula.
#include "mlxcpp/lm/fuse.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/weight_files.h"
#include "mlxcpp/lm/adapters.h"
#include "mlxcpp/nn/checkpoint.h"
#include "tests/support/adapter_golden.h"
#include "tests/support/errors.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;
using test::AdapterGolden;
using test::message_of;
using test::relative_difference;
using test::TempDir;

ModelTypeRegistry registry() {
  ModelTypeRegistry all;
  add_models(all);
  return all;
}

/// A model's folder, an adapter's, and where the result goes.
struct Folders {
  explicit Folders(const std::string& name) : a(name) {
    fs::create_directory(model());
    test::write_model(model(), a.row());
    a.write(adapter());
  }
  fs::path model() const { return dir.path() / "model"; }
  fs::path adapter() const { return dir.path() / "adapter"; }
  fs::path out() const { return dir.path() / "out"; }
  Fused run(const FuseOptions& options = {}) const {
    return fuse(model(), adapter(), out(), registry(), options);
  }
  array logits(const fs::path& folder) const {
    auto loaded = load_model(ModelConfiguration::from_directory(folder.string()), registry());
    auto caches = loaded->make_caches();
    return test::forward(*loaded, caches, a.golden.ids("ids"));
  }
  std::map<std::string, array> tensors(const fs::path& folder) const {
    return nn::load_safetensors(io::find_weight_files(folder));
  }
  int entries() const {
    return int(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()));
  }

  AdapterGolden a;
  TempDir dir;
};

class Fusing : public testing::TestWithParam<const char*> {
 protected:
  bool packed() const { return std::string(GetParam()).find("packed") != std::string::npos; }
};

TEST_P(Fusing, gives_a_checkpoint_with_the_references_logits_and_names) {
  Folders f(GetParam());
  auto fused = f.run();
  EXPECT_FALSE(fused.tensors.empty());
  auto& golden = f.a.golden.tensors;
  auto want = golden.count("fused_logits") ? golden.at("fused_logits") : golden.at("logits");
  bool anew = packed() && !golden.count("fused_logits");  // PEFT's formula without packing anew
  EXPECT_LT(relative_difference(f.logits(f.out()), want), anew ? 0.2f : packed() ? 3e-2f : 2e-4f);
  auto before = f.tensors(f.model()), after = f.tensors(f.out());
  ASSERT_EQ(before.size(), after.size());
  std::size_t changed = 0;
  for (auto& [name, value] : before) {
    EXPECT_EQ(after.at(name).shape(), value.shape()) << name;
    EXPECT_EQ(after.at(name).dtype(), value.dtype()) << name;
    bool same = mx::array_equal(after.at(name), value).item<bool>();
    bool listed = std::ranges::find(fused.tensors, name) != fused.tensors.end();
    changed += listed;
    if (name.ends_with(".weight")) EXPECT_EQ(same, !listed) << name;
  }
  EXPECT_EQ(changed, fused.tensors.size());
}

TEST_P(Fusing, gives_the_references_tensors) {
  Folders f(GetParam());
  f.run();
  auto after = f.tensors(f.out());
  for (auto& [key, want] : f.a.golden.tensors) {
    if (!key.starts_with("fused.")) continue;
    auto it = after.find(key.substr(6));
    if (it == after.end()) continue;   // the checkpoint has it in another form than mlx-lm
    if (want.dtype() == mx::uint32) {  // codes: a few may lie at the border of rounding
      array equal = mx::astype(mx::equal(it->second, want), mx::float32);
      EXPECT_GT(mx::mean(equal).item<float>(), 0.97f) << key;
    } else {
      EXPECT_LT(relative_difference(it->second, want), 1e-5f) << key;
    }
  }
}

TEST_P(Fusing, with_dequantize_gives_numbers_and_the_logits_of_the_adapter) {
  Folders f(GetParam());
  auto fused = f.run({.dequantize = true});
  EXPECT_LT(relative_difference(f.logits(f.out()), f.a.golden.at("logits")), 2e-4f);
  std::uint64_t numbers = 0;
  for (auto& [name, value] : f.tensors(f.out())) {
    EXPECT_FALSE(name.ends_with(".scales") || name.ends_with(".biases")) << name;
    numbers += value.size();
  }
  EXPECT_EQ(fused.parameters, numbers);
  auto config = io::Fields::parse(io::read_text(f.out() / "config.json", std::size_t{1} << 20));
  EXPECT_FALSE(config.has("quantization"));
  EXPECT_FALSE(config.has("quantization_config"));
}

INSTANTIATE_TEST_SUITE_P(Golden, Fusing, testing::ValuesIn(test::kAdapterGoldens), [](auto& name) {
  return std::string(name.param);
});

TEST(Fuse, writes_what_a_model_folder_has) {
  Folders f("lora_packed");
  std::ofstream(f.model() / "generation_config.json") << "{\"temperature\": 0.5}";
  std::ofstream(f.model() / "chat_template.jinja") << "{{ messages }}";
  std::ofstream(f.model() / "notes.pdf") << "x";
  auto fused = f.run();
  std::vector<std::string> names;
  for (auto& entry : fs::directory_iterator(f.out())) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  EXPECT_EQ(names,
            (std::vector<std::string>{"chat_template.jinja",
                                      "config.json",
                                      "generation_config.json",
                                      "model.safetensors",
                                      "model.safetensors.index.json",
                                      "tokenizer.json"}));
  auto limit = std::size_t{1} << 20;
  auto config = io::Fields::parse(io::read_text(f.out() / "config.json", limit));
  EXPECT_EQ(config.json_text("quantization"), config.json_text("quantization_config"));
  auto index = io::Fields::parse(io::read_text(f.out() / "model.safetensors.index.json", limit));
  auto metadata = index.need_object("metadata");
  std::int64_t size = 0, parameters = 0;
  metadata.need("total_size", &size).need("total_parameters", &parameters);
  EXPECT_EQ(size, std::int64_t(fused.bytes));
  EXPECT_EQ(parameters, std::int64_t(fused.parameters));
  // Two tensors of each packed module but its codes are no parameters.
  std::int64_t want = 0;
  for (auto& [name, value] : f.tensors(f.out()))
    if (value.dtype() == mx::uint32)
      want += std::int64_t(value.size()) * 8;  // 4 bits
    else if (!name.ends_with(".scales") && !name.ends_with(".biases"))
      want += std::int64_t(value.size());
  EXPECT_EQ(parameters, want);
}

TEST(Fuse, leaves_nothing_where_it_fails) {
  Folders f("lora");
  fs::create_directory(f.out());
  std::ofstream(f.out() / "mine") << "x";
  EXPECT_TRUE(
      message_of<IoError>([&] { f.run(); }).starts_with(f.out().string() + ": exists already"));
  fs::remove_all(f.out());
  FuseOptions stop;
  stop.save.progress = [](std::uint64_t, std::uint64_t) { throw std::runtime_error("stop"); };
  EXPECT_THROW(f.run(stop), std::runtime_error);
  std::ofstream(f.adapter() / "adapter_config.json") << "{\"fine_tune_type\": \"full\"}";
  EXPECT_THROW(f.run(), UnsupportedError);
  EXPECT_EQ(f.entries(), 2);
}

TEST(Fuse, refuses_what_it_can_not_write_again) {
  Folders f("lora");
  auto refusal = [&](const fs::path& model) {
    return message_of<UnsupportedError>([&] { fuse(model, f.adapter(), f.out(), registry(), {}); });
  };
  fs::path gguf = MLXCPP_TEST_DATA "/lm/llama_gguf_f32.gguf";
  EXPECT_EQ(refusal(gguf),
            gguf.string() +
                ": not a checkpoint that can be fused; expected config.json and "
                "safetensors");
  fs::path foreign = f.dir.path() / "foreign";
  fs::create_directory(foreign);
  test::write_model(foreign, test::golden_files("llama_foreign_awq").at(0));
  EXPECT_EQ(refusal(foreign),
            foreign.string() +
                ": weights that another program packed can not be fused; expected "
                "numbers, or weights that MLX packed");
  EXPECT_THROW(fuse(f.dir.path() / "none", f.adapter(), f.out(), registry(), {}), IoError);
  EXPECT_FALSE(fs::exists(f.out()));
}

}  // namespace
}  // namespace mlxcpp::lm
