// load(): what is read, in which order, and what each bad model gets.
#include "mlxcpp/lm/factory.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/lm/detail/memory.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/nn/gguf.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/script_model.h"
#include "tests/support/temp_dir.h"

#include <mlx/io.h>
#include <mlx/memory.h>
#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <stdexcept>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;
using test::Golden;
using test::message_of;
constexpr const char* kData = MLXCPP_TEST_DATA;

fs::path golden(const std::string& row) {
  return fs::path(kData) / "lm" / ("llama_" + row + ".safetensors");
}
fs::path gguf(const std::string& row) {
  return fs::path(kData) / "lm" / ("llama_gguf_" + row + ".gguf");
}

ModelTypeRegistry builtin() {
  ModelTypeRegistry registry;
  add_models(registry);
  return registry;
}

LoadedModelContext load_from(const fs::path& path, const LoadOptions& options = {}) {
  return load(ModelConfiguration::from_directory(path), builtin(), options);
}

/// A registry in which "counted" counts what it makes.
struct Counted {
  int made = 0;
  std::string config_json;
  ModelTypeRegistry registry = ModelTypeRegistry().with("counted", [this](const LoadedModel& m) {
    ++made;
    config_json = m.config_json;
    return std::make_unique<test::ScriptModel>(std::vector<int>{0}, 8);
  });
  LoadedModelContext load(const fs::path& path, const LoadOptions& options = {}) {
    return lm::load(ModelConfiguration::from_directory(path), registry, options);
  }
};
constexpr const char* kCounted = R"({"model_type": "counted", "eos_token_id": 3})";

void put_tokenizer(const fs::path& directory) {
  fs::copy_file(fs::path(kData) / "text/gpt2.json", directory / "tokenizer.json");
}
void put_weights(const fs::path& directory, int floats = 4) {
  mx::save_safetensors((directory / "model.safetensors").string(), {{"w", mx::zeros({floats})}});
}
void put_counted(const fs::path& directory) {
  std::ofstream(directory / "config.json") << kCounted;
  put_weights(directory);
  put_tokenizer(directory);
}

/// The logits of a golden's prompt against the golden's.
float difference(const LanguageModel& model, const Golden& g) {
  Caches none;
  return test::relative_difference(test::forward(model, none, g.ids("ids")), g.at("logits"));
}

// -- What is loaded --------------------------------------------------------------------------

TEST(Load, reads_a_directory) {
  test::TempDir dir;
  test::write_model(dir.path(), golden("plain"));
  dir.write("generation_config.json", R"({"eos_token_id": [3, 4], "top_p": 0.5})");
  auto loaded = load_from(dir.path());
  EXPECT_LT(difference(*loaded.model, Golden::read(golden("plain"))), 1e-4f);
  EXPECT_EQ(loaded.config.model_type, "llama");
  EXPECT_EQ(loaded.config.eos_token_ids, (std::vector<TokenId>{3, 4}));
  EXPECT_EQ(loaded.tokenizer.eos_ids(), (std::vector<TokenId>{3, 4}));
  EXPECT_EQ(loaded.generation_defaults.top_p, 0.5f);
}

TEST(Load, leaves_eos_to_the_tokenizer_when_the_configs_say_nothing) {
  test::TempDir dir;
  put_counted(dir.path());
  dir.write("config.json", R"({"model_type": "counted"})");
  dir.write("tokenizer_config.json", R"({"eos_token": "<|endoftext|>"})");
  Counted counted;
  EXPECT_EQ(counted.load(dir.path()).tokenizer.eos_ids(), std::vector<TokenId>{500});
  dir.write("config.json", kCounted);
  EXPECT_EQ(counted.load(dir.path()).tokenizer.eos_ids(), std::vector<TokenId>{3});
}

TEST(Load, hands_over_the_config_as_the_file_has_it) {
  test::TempDir dir;
  put_counted(dir.path());
  std::string text = "\n{\"model_type\" : \"counted\",\r\n\t\"x\": 1.50}  \n";
  dir.write("config.json", text);
  Counted counted;
  counted.load(dir.path());
  EXPECT_EQ(counted.config_json, text);
}

TEST(Load, evaluates_nothing) {
  test::TempDir dir;
  test::write_model(dir.path(), golden("plain"));
  auto loaded = load_from(dir.path());
  EXPECT_FALSE(loaded.model->manifest().params.empty());
  for (auto& [name, p] : loaded.model->manifest().params)
    EXPECT_FALSE(p->has_primitive() && p->status() != array::Status::unscheduled) << name;
}

TEST(Load, takes_the_tokenizer_from_elsewhere_when_told) {
  test::TempDir dir, other;
  put_counted(dir.path());
  fs::rename(dir.path() / "tokenizer.json", other.path() / "tokenizer.json");
  Counted counted;
  EXPECT_THROW(counted.load(dir.path()), Error);
  EXPECT_EQ(counted.made, 0);
  auto configuration =
      ModelConfiguration::from_directory(dir.path()).with_tokenizer_source(other.path());
  auto loaded = load(configuration, counted.registry);
  EXPECT_EQ(loaded.tokenizer.vocab_size(), 501u);
  EXPECT_EQ(loaded.tokenizer.eos_ids(), std::vector<TokenId>{3});
  auto packed = ModelConfiguration::from_directory(gguf("f32")).with_tokenizer_source(other.path());
  EXPECT_EQ(load(packed, builtin()).tokenizer.vocab_size(), 501u);
}

TEST(Load, reads_a_gguf_file_and_a_folder_with_exactly_one) {
  auto g = Golden::read(golden("gguf_q8_0"));
  auto file = load_from(gguf("q8_0"));
  EXPECT_LT(difference(*file.model, g), 1e-3f);
  EXPECT_EQ(file.config.model_type, "llama");
  EXPECT_EQ(file.tokenizer.vocab_size(), 288u);
  test::TempDir dir;
  fs::copy_file(gguf("q8_0"), dir.path() / "any name.gguf");
  dir.write("README.md", "text");
  EXPECT_LT(difference(*load_from(dir.path()).model, g), 1e-3f);
}

TEST(Load, reads_a_gguf_files_weights_beside_a_config) {
  auto g = Golden::read(golden("gguf_q8_0"));
  test::TempDir dir;
  fs::copy_file(gguf("q8_0"), dir.path() / "model.gguf");
  dir.write("config.json", g.metadata.at("config"));
  put_tokenizer(dir.path());
  auto loaded = load_from(dir.path());
  EXPECT_LT(difference(*loaded.model, g), 1e-3f);
  EXPECT_EQ(loaded.tokenizer.vocab_size(), 501u);
  std::uint64_t bytes = nn::loaded_bytes(io::Gguf::open(gguf("q8_0")));
  EXPECT_NO_THROW(load_from(dir.path(), {.memory_limit = bytes}));
  EXPECT_THROW(load_from(dir.path(), {.memory_limit = bytes - 1}), CapacityError);
}

TEST(Load, gives_the_same_model_wherever_its_weights_lie) {
  test::TempDir dir;
  test::write_model(dir.path(), golden("plain"));
  auto of_directory = Golden::read(golden("plain")), of_file = Golden::read(golden("gguf_q8_0"));
  for (auto where : {nn::Residency::automatic, nn::Residency::mapped, nn::Residency::resident}) {
    LoadOptions options{.residency = where};
    EXPECT_LT(difference(*load_from(dir.path(), options).model, of_directory), 1e-4f);
    EXPECT_LT(difference(*load_from(gguf("q8_0"), options).model, of_file), 1e-3f);
  }
}

TEST(Load, copies_nothing_of_a_checkpoint_that_needs_no_change) {
  test::TempDir dir;
  test::write_model(dir.path(), golden("plain"));
  for (auto where : {nn::Residency::mapped, nn::Residency::resident}) {
    auto before = mx::get_active_memory();
    auto model = load_from(dir.path(), {.residency = where}).model;
    for (auto& [name, p] : model->manifest().params) mx::eval(*p);
    EXPECT_EQ(mx::get_active_memory(), before);
  }
}

TEST(Load, tells_how_much_is_read_and_can_be_stopped) {
  test::TempDir dir;
  test::write_model(dir.path(), golden("plain"));
  std::uint64_t last = 0, all = 0;
  auto tell = [&](std::uint64_t done, std::uint64_t total) { last = done, all = total; };
  auto model =
      load_from(dir.path(), {.residency = nn::Residency::resident, .progress = tell}).model;
  EXPECT_EQ(all, model->nbytes());
  EXPECT_EQ(last, all);
  auto stop = [](std::uint64_t, std::uint64_t) { throw std::runtime_error("stop"); };
  EXPECT_THROW(load_from(dir.path(), {.residency = nn::Residency::resident, .progress = stop}),
               std::runtime_error);
}

TEST(Residency, is_what_was_asked_or_what_the_memory_allows) {
  using nn::Residency;
  constexpr std::uint64_t kSmall = 1 << 20, kHuge = std::uint64_t{1} << 50;
  auto choose = detail::choose_residency;
  EXPECT_EQ(choose(Residency::automatic, kSmall, 0), Residency::resident);
  EXPECT_EQ(choose(Residency::mapped, kSmall, 0), Residency::mapped);
  EXPECT_EQ(choose(Residency::resident, kSmall, 0), Residency::resident);
  EXPECT_EQ(choose(Residency::mapped, kHuge, 0), Residency::mapped) << "pages can be given back";
  EXPECT_THROW(choose(Residency::automatic, kHuge, 0), CapacityError);
  EXPECT_THROW(choose(Residency::resident, kHuge, 0), CapacityError);
  auto free = detail::available_memory();
  if (!free) GTEST_SKIP() << "the system does not tell what is free";
  EXPECT_EQ(choose(Residency::automatic, *free / 8 * 5, 0), Residency::mapped);
  EXPECT_EQ(choose(Residency::automatic, *free / 8 * 3, 0), Residency::resident);
}

TEST(Residency, keeps_to_a_limit_that_was_given) {
  using nn::Residency;
  for (auto asked : {Residency::automatic, Residency::mapped, Residency::resident}) {
    EXPECT_NO_THROW(detail::choose_residency(asked, 1000, 1000));
    EXPECT_THROW(detail::choose_residency(asked, 1001, 1000), CapacityError);
  }
}

// -- Where it is looked for ------------------------------------------------------------------

TEST(ModelConfiguration, says_where_model_and_tokenizer_are) {
  auto c = ModelConfiguration::from_directory("/a/b");
  EXPECT_FALSE(c.id().is_id());
  EXPECT_EQ(c.id().text(), "/a/b");
  EXPECT_EQ(c.model_directory(), "/a/b");
  EXPECT_EQ(c.tokenizer_directory(), "/a/b");
  EXPECT_EQ(c.tokenizer_source(), std::nullopt);
  auto d = ModelConfiguration::from_id("org/name").with_tokenizer_source("/c");
  EXPECT_TRUE(d.id().is_id());
  EXPECT_EQ(d.id().text(), "org/name");
  EXPECT_EQ(d.model_directory(), "org/name");
  EXPECT_EQ(d.tokenizer_directory(), "/c");
  EXPECT_EQ(d.tokenizer_source(), "/c");
}

TEST(Load, takes_an_id_that_is_a_path_for_the_path) {
  test::TempDir dir;
  put_counted(dir.path());
  Counted counted;
  LoadOptions options{.resolver = [](const std::string&) -> std::optional<std::string> {
    ADD_FAILURE() << "asked for what is there";
    return {};
  }};
  load(ModelConfiguration::from_id(dir.path().string()), counted.registry, options);
  EXPECT_EQ(counted.made, 1);
}

TEST(Load, asks_the_resolver_for_any_other_id) {
  test::TempDir dir;
  put_counted(dir.path());
  Counted counted;
  std::vector<std::string> asked;
  LoadOptions options{.resolver = [&](const std::string& id) -> std::optional<std::string> {
    asked.push_back(id);
    if (id == "org/name") return dir.path().string();
    if (id == "org/gone") return (dir.path() / "gone").string();
    return {};
  }};
  auto get = [&](const std::string& id) {
    return load(ModelConfiguration::from_id(id), counted.registry, options);
  };
  EXPECT_EQ(get("org/name").config.model_type, "counted");
  auto message = message_of<IoError>([&] { get("org/other"); });
  EXPECT_TRUE(message.starts_with("model \"org/other\": not found;")) << message;
  EXPECT_NE(message.find("`hf download org/other`"), message.npos) << message;
  EXPECT_NE(message_of<IoError>([&] { get("org/gone"); }).find("found nothing"), message.npos);
  EXPECT_EQ(asked, (std::vector<std::string>{"org/name", "org/other", "org/gone"}));
}

TEST(Load, does_not_ask_the_resolver_for_a_directory) {
  Counted counted;
  LoadOptions options{.resolver = [](const std::string&) -> std::optional<std::string> {
    ADD_FAILURE();
    return {};
  }};
  EXPECT_THROW(load(ModelConfiguration::from_directory("org/name"), counted.registry, options),
               IoError);
}

// -- What is no model ------------------------------------------------------------------------

TEST(Load, says_of_each_thing_why_it_is_no_model) {
  test::TempDir dir;
  auto at = [&](const std::string& name) { return dir.path() / name; };
  auto io_error = [&](const fs::path& path) {
    return message_of<IoError>([&] { load_from(path); });
  };
  auto text = dir.write("notes.txt", "no model");
  EXPECT_TRUE(io_error(text).starts_with(text.string() + ": not a model;")) << io_error(text);
  EXPECT_TRUE(io_error(at("nothing")).starts_with("model \"" + at("nothing").string()));
  EXPECT_TRUE(io_error("").starts_with("model \"\": not found;"));
  EXPECT_NE(io_error(std::string(5000, 'x')), "no error");
  fs::create_directory(at("empty"));
  EXPECT_TRUE(io_error(at("empty")).starts_with(at("empty").string() + ": not a model directory"));
  fs::create_directories(at("odd") / "config.json");
  auto odd = io_error(at("odd"));
  EXPECT_NE(odd.find("config.json: cannot be used; expected a regular file, found a directory"),
            odd.npos)
      << odd;
  fs::create_directory(at("two"));
  for (auto name : {"a.gguf", "b.gguf"}) fs::copy_file(gguf("f32"), at("two") / name);
  EXPECT_TRUE(io_error(at("two")).starts_with(at("two").string() + ": not a model directory"));
  auto fake = dir.write("fake.gguf", "GGUX and more");
  auto message = message_of<WeightError>([&] { load_from(fake); });
  EXPECT_NE(message.find("not a GGUF file"), message.npos) << message;
  fs::create_directory(at("folder.gguf"));
  EXPECT_NE(io_error(at("folder.gguf")), "no error");
  ASSERT_EQ(mkfifo(at("pipe.gguf").c_str(), 0600), 0);
  EXPECT_NE(io_error(at("pipe.gguf")), "no error");  // and does not wait for a writer
}

/// What `call` gives to a user who owns nothing here; nothing if there is no such user.
template <class Call>
std::optional<std::string> as_nobody(Call call) {
  constexpr uid_t kNobody = 65534;
  auto me = geteuid();
  if (me == 0 && seteuid(kNobody) != 0) return {};
  auto result = call();
  if (me == 0 && seteuid(me) != 0) abort();
  return result;
}

TEST(Load, says_so_when_it_may_not_read_a_directory) {
  test::TempDir dir;
  auto locked = dir.path() / "locked", listed = dir.path() / "listed";
  fs::create_directory(locked), fs::create_directory(listed);
  fs::permissions(dir.path(), fs::perms(0755));
  fs::permissions(locked, fs::perms(0));
  fs::permissions(listed, fs::perms(0111));  // may be passed through, but not listed
  for (auto& path : {locked, listed}) {
    auto message = as_nobody([&] { return message_of<IoError>([&] { load_from(path); }); });
    if (!message) GTEST_SKIP() << "no other user to be";
    EXPECT_TRUE(message->starts_with(path.string())) << *message;
  }
  for (auto& path : {locked, listed}) fs::permissions(path, fs::perms(0700));
}

TEST(Load, names_an_npz_file_that_it_can_not_read) {
  test::TempDir dir;
  dir.write("config.json", kCounted);
  auto file = dir.write("weights.npz", "PK");
  put_tokenizer(dir.path());
  Counted counted;
  auto message = message_of<WeightError>([&] { counted.load(dir.path()); });
  EXPECT_TRUE(message.starts_with(file.string() + ":")) << message;
}

TEST(Load, refuses_weights_that_do_not_fit_into_memory_and_says_both_sizes) {
  test::TempDir dir;
  put_counted(dir.path());
  put_weights(dir.path(), 3 << 18);  // 3 MiB
  Counted counted;
  auto message =
      message_of<CapacityError>([&] { counted.load(dir.path(), {.memory_limit = (3 << 20) - 1}); });
  EXPECT_EQ(counted.made, 0);
  EXPECT_NE(message.find("at most 3 MiB, found 3 MiB"), message.npos) << message;
  message = message_of<CapacityError>([&] { counted.load(dir.path(), {.memory_limit = 1 << 20}); });
  EXPECT_NE(message.find("at most 1 MiB, found 3 MiB"), message.npos) << message;
  counted.load(dir.path(), {.memory_limit = 3 << 20});
  EXPECT_EQ(counted.made, 1);
  EXPECT_THROW(load_from(gguf("f32"), {.memory_limit = 1 << 10}), CapacityError);
}

TEST(Load, can_be_tried_again_after_a_constructor_failed) {
  test::TempDir dir;
  put_counted(dir.path());
  int calls = 0;
  auto registry = ModelTypeRegistry().with("counted", [&](const LoadedModel& m) {
    EXPECT_EQ(m.weights.size(), 1u);
    if (++calls == 1) throw WeightError("planted");
    return std::make_unique<test::ScriptModel>(std::vector<int>{0}, 8);
  });
  auto configuration = ModelConfiguration::from_directory(dir.path());
  EXPECT_EQ(message_of<WeightError>([&] { load(configuration, registry); }), "planted");
  EXPECT_EQ(load(configuration, registry).model->vocab_size(), 8);
}

TEST(Bind, takes_from_a_copy_so_that_a_failure_changes_nothing) {
  test::TempDir dir;
  test::write_model(dir.path(), golden("plain"));
  auto config = load_config(dir.path());
  LoadedModel loaded{config.config, config.json, {}, {}};
  for (auto& [name, value] :
       mx::load_safetensors((dir.path() / "model.safetensors").string()).first)
    loaded.weights.emplace(name, value);
  auto whole = loaded.weights;
  auto names = [](auto& weights) {
    std::vector<std::string> all;
    for (auto& [name, value] : weights) all.push_back(name);
    return all;
  };
  loaded.weights.erase("model.norm.weight");  // the last that the model takes
  auto before = names(loaded.weights);
  auto message = message_of<WeightError>([&] { builtin().create(loaded); });
  EXPECT_TRUE(message.starts_with("model.norm.weight: missing;")) << message;
  EXPECT_EQ(names(loaded.weights), before);
  loaded.weights = whole;
  loaded.weights.emplace("model.extra.weight", mx::zeros({2}));
  message = message_of<WeightError>([&] { builtin().create(loaded); });
  EXPECT_NE(message.find("model.extra.weight (2)"), message.npos) << message;
  loaded.weights = whole;
  for (int i = 0; i < 2; ++i)
    EXPECT_LT(difference(*builtin().create(loaded), Golden::read(golden("plain"))), 1e-4f);
}

}  // namespace
}  // namespace mlxcpp::lm
