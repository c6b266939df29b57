// load() takes its steps in one order, so that the cheapest failure comes first.
#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/loaded_model.h"
#include "mlxcpp/lm/model.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/script_model.h"
#include "tests/support/temp_dir.h"

#include <mlx/io.h>
#include <mlx/ops.h>

#include <gtest/gtest.h>
#ifdef __linux__
#include <sys/inotify.h>
#endif

#include <algorithm>
#include <functional>
#include <set>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;
using test::message_of;
constexpr const char* kData = MLXCPP_TEST_DATA;

void put_tokenizer(const fs::path& directory) {
  fs::copy_file(fs::path(kData) / "text/gpt2.json", directory / "tokenizer.json");
}
void put_weights(const fs::path& directory) {
  mx::save_safetensors((directory / "model.safetensors").string(), {{"w", mx::zeros({4})}});
}

/// What may be wrong with a model, in the order in which load() must find it.
enum Fault {
  no_directory,
  no_config,
  bad_key,
  unknown_type,
  bad_quantization,
  bad_index,
  bad_header,
  too_large,
  bad_dtype,
  no_tokenizer,
  bad_constructor,
  kFaults
};
constexpr const char* kNames[] = {"no directory",
                                  "no config",
                                  "bad key",
                                  "unknown type",
                                  "bad quantization",
                                  "bad index",
                                  "bad header",
                                  "too large",
                                  "bad dtype",
                                  "no tokenizer",
                                  "bad constructor"};

/// A model directory with these faults, and a registry for it.
struct Broken {
  explicit Broken(const std::set<Fault>& faults) : faults_(faults) {
    auto has = [&](Fault f) { return faults.count(f) > 0; };
    std::string config = std::string(R"({"model_type": )") +
                         (has(unknown_type) ? R"("unheard of")" : R"("counted")");
    if (has(bad_key)) config += R"(, "hidden_size": 4000000000000)";
    if (has(bad_quantization)) config += R"(, "quantization": {"bits": 4, "group_size": "x"})";
    if (!has(no_config)) dir.write("config.json", config + "}");
    if (has(bad_index))
      dir.write("model.safetensors.index.json", R"({"weight_map": {"w": "../x"}})");
    put_weights(dir.path());
    if (has(bad_dtype)) {
      std::string header = R"({"w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})";
      dir.write("model.safetensors",
                char(header.size()) + std::string(7, '\0') + header + std::string(8, '\0'));
    }
    if (has(bad_header)) dir.write("model.safetensors", "no header");
    if (!has(no_tokenizer)) put_tokenizer(dir.path());
    registry.add("counted", [this](const LoadedModel&) {
      ++constructed;
      if (faults_.count(bad_constructor)) throw UnsupportedError("planted");
      return std::make_unique<test::ScriptModel>(std::vector<int>{0}, 8);
    });
  }

  ModelConfiguration configuration() const {
    auto path = faults_.count(no_directory) ? dir.path() / "nothing" : dir.path();
    return ModelConfiguration::from_directory(path.string());
  }
  LoadOptions options() const {
    return {.resolver = {}, .memory_limit = faults_.count(too_large) ? 1u : 0u};
  }

  /// The kind of the error that `call` throws and its message, with the folder's name left out.
  std::string error_of(const std::function<void()>& call) const {
    try {
      call();
      return "no error";
    } catch (const Error& e) {
      std::string text = e.what(), folder = dir.path().string();
      for (std::size_t at; (at = text.find(folder)) != text.npos;) text.erase(at, folder.size());
      return std::string(name_of(e.kind())) + ": " + text;
    }
  }
  std::string refusal() const {
    return error_of([&] { load(configuration(), registry, options()); });
  }

  std::set<std::string> files() const {
    std::set<std::string> names;
    for (auto& entry : fs::directory_iterator(dir.path())) names.insert(entry.path().filename());
    return names;
  }

  test::TempDir dir;
  ModelTypeRegistry registry;
  int constructed = 0;

 private:
  std::set<Fault> faults_;
};

TEST(LoadOrder, each_fault_alone_has_the_error_of_its_kind) {
  const std::pair<Fault, std::string> expected[] = {
      {no_directory, "io: model \"/nothing\": not found;"},
      {no_config, "io: : not a model directory;"},
      {bad_key, "config: config.hidden_size:"},
      {unknown_type, "unsupported: model_type: not supported; expected counted,"},
      {bad_quantization, "config: config.quantization.group_size:"},
      {bad_index, "weight: /model.safetensors.index.json.weight_map.w: bad shard;"},
      {bad_header, "weight: /model.safetensors:"},
      {too_large, "capacity: memory:"},
      {bad_dtype, "weight: /model.safetensors: w: dtype not supported;"},
      {no_tokenizer, "tokenizer: "},
      {bad_constructor, "unsupported: planted"}};
  ASSERT_EQ(std::size(expected), std::size_t(kFaults));
  for (auto& [fault, start] : expected) {
    auto message = Broken({fault}).refusal();
    EXPECT_TRUE(message.starts_with(start)) << message;
  }
  EXPECT_EQ(Broken({}).refusal(), "no error");
}

TEST(LoadOrder, of_two_faults_the_one_of_the_earlier_step_is_named) {
  for (int first = 0; first < kFaults; ++first) {
    auto want = Broken({Fault(first)}).refusal();
    for (int second = first + 1; second < kFaults; ++second) {
      Broken both({Fault(first), Fault(second)});
      EXPECT_EQ(both.refusal(), want) << kNames[first] << " and " << kNames[second];
      EXPECT_EQ(both.constructed, first == bad_constructor);
    }
  }
}

TEST(LoadOrder, a_failed_load_changes_nothing) {
  for (int fault = no_config; fault < kFaults; ++fault) {
    Broken broken({Fault(fault)});
    auto files = broken.files();
    auto types = broken.registry.model_types();
    auto first = broken.refusal();
    EXPECT_NE(first, "no error");
    EXPECT_EQ(broken.refusal(), first) << kNames[fault];
    EXPECT_EQ(broken.files(), files) << kNames[fault];
    EXPECT_EQ(broken.registry.model_types(), types) << kNames[fault];
  }
}

TEST(LoadOrder, a_context_is_loaded_with_the_errors_of_load) {
  for (int fault = 0; fault < kFaults; ++fault) {
    Broken broken({Fault(fault)});
    auto got = broken.error_of(
        [&] { ModelContext::load(broken.configuration(), broken.registry, broken.options()); });
    EXPECT_EQ(got, broken.refusal());
  }
}

TEST(LoadOrder, a_model_alone_needs_no_tokenizer_but_all_else) {
  for (int fault = 0; fault < kFaults; ++fault) {
    Broken broken({Fault(fault)});
    auto got = broken.error_of(
        [&] { load_model(broken.configuration(), broken.registry, broken.options()); });
    EXPECT_EQ(got, fault == no_tokenizer ? "no error" : broken.refusal());
  }
}

TEST(LoadOrder, of_a_gguf_file_the_type_comes_before_memory_and_tokenizer) {
  auto file = fs::path(kData) / "lm/llama_gguf_f32.gguf";
  auto refused = [&](const ModelTypeRegistry& registry, std::uint64_t limit) {
    test::TempDir elsewhere;  // without a tokenizer
    auto configuration =
        ModelConfiguration::from_directory(file.string()).with_tokenizer_source(elsewhere.path());
    try {
      load(configuration, registry, {.memory_limit = limit});
    } catch (const Error& e) {
      return e.kind();
    }
    return ErrorKind::internal;
  };
  auto failing = ModelTypeRegistry().with("llama", [](const LoadedModel&) {
    throw WeightError("planted");
    return std::unique_ptr<LanguageModel>();
  });
  EXPECT_EQ(refused(ModelTypeRegistry(), 1), ErrorKind::unsupported);
  EXPECT_EQ(refused(failing, 1), ErrorKind::capacity);
  EXPECT_EQ(refused(failing, 0), ErrorKind::tokenizer);
}

// -- What the constructor is given ----------------------------------------------------------------

/// Loads this directory with a constructor that only looks.
void inspect(const fs::path& directory, const std::function<void(const LoadedModel&)>& look) {
  int calls = 0;
  auto registry = ModelTypeRegistry().with("counted", [&](const LoadedModel& loaded) {
    ++calls;
    look(loaded);
    return std::make_unique<test::ScriptModel>(std::vector<int>{0}, 8);
  });
  load(ModelConfiguration::from_directory(directory.string()), registry);
  EXPECT_EQ(calls, 1);
}

TEST(LoadedModel, has_the_eos_ids_of_generation_config_in_its_config) {
  Broken sound({});
  sound.dir.write("config.json", R"({"model_type": "counted", "eos_token_id": 3})");
  sound.dir.write("generation_config.json", R"({"eos_token_id": [5, 6]})");
  inspect(sound.dir.path(), [](const LoadedModel& loaded) {
    EXPECT_EQ(loaded.config.eos_token_ids, (std::vector<TokenId>{5, 6}));
    EXPECT_EQ(loaded.config_json, R"({"model_type": "counted", "eos_token_id": 3})");
  });
}

TEST(LoadedModel, keeps_the_config_that_was_read_when_the_file_changes_meanwhile) {
  Broken sound({});
  std::string text = R"({"model_type": "counted", "hidden_size": 7})";
  sound.dir.write("config.json", text);
  inspect(sound.dir.path(), [&](const LoadedModel& loaded) {
    sound.dir.write("config.json", "{}");
    EXPECT_EQ(loaded.config_json, text);
    EXPECT_EQ(loaded.config.hidden_size, 7);
  });
}

TEST(LoadedModel, has_every_tensor_of_every_shard_by_its_own_name_and_not_evaluated) {
  Broken sound({});
  fs::remove(sound.dir.path() / "model.safetensors");
  auto at = [&](const char* name) { return (sound.dir.path() / name).string(); };
  mx::save_safetensors(at("a.safetensors"),
                       {{"x.weight", mx::zeros({2})}, {"odd Name", mx::ones({3})}});
  mx::save_safetensors(at("b.safetensors"), {{"y", mx::ones({1, 2})}, {"unlisted", mx::ones({1})}});
  sound.dir.write("model.safetensors.index.json",
                  R"({"weight_map": {"x.weight": "a.safetensors", "odd Name": "a.safetensors",
                      "y": "b.safetensors"}})");
  inspect(sound.dir.path(), [](const LoadedModel& loaded) {
    std::map<std::string, mx::Shape> shapes;
    for (auto& [name, value] : loaded.weights) {
      shapes.emplace(name, value.shape());
      EXPECT_FALSE(value.has_primitive()) << name;  // nothing that would be computed
    }
    EXPECT_EQ(
        shapes,
        (std::map<std::string, mx::Shape>{{"odd Name", {3}}, {"x.weight", {2}}, {"y", {1, 2}}}));
  });
}

// -- What is opened, and how often ----------------------------------------------------------------

#ifdef __linux__
/// The files of a folder that were opened, in order.
class Opened {
 public:
  explicit Opened(const fs::path& directory) : fd_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    // With closing between them, two openings of one file are not reported as one.
    auto what = IN_OPEN | IN_CLOSE_NOWRITE;
    if (inotify_add_watch(fd_, directory.c_str(), what) < 0) ok_ = false;
  }
  ~Opened() { close(fd_); }
  bool ok() const { return ok_; }
  std::vector<std::string> names() {
    std::vector<std::string> all;
    alignas(inotify_event) char buffer[1 << 16];
    auto n = read(fd_, buffer, sizeof buffer);
    for (ssize_t at = 0; at < n;) {
      auto* event = reinterpret_cast<inotify_event*>(buffer + at);
      if (event->len && (event->mask & IN_OPEN)) all.emplace_back(event->name);
      at += ssize_t(sizeof(inotify_event) + event->len);
    }
    return all;
  }

 private:
  int fd_;
  bool ok_ = true;
};

/// The names of what load() opens in this sound directory.
std::vector<std::string> opened_by_load(const Broken& sound) {
  Opened opened(sound.dir.path());
  if (!opened.ok()) return {};
  load(ModelConfiguration::from_directory(sound.dir.path().string()), sound.registry);
  return opened.names();
}

TEST(LoadOrder, configs_and_tokenizer_are_read_once_and_weights_between_them) {
  Broken sound({});
  sound.dir.write("generation_config.json", R"({"eos_token_id": 3, "top_p": 0.5})");
  auto names = opened_by_load(sound);
  if (names.empty()) GTEST_SKIP() << "no inotify here";
  for (auto name : {"config.json", "generation_config.json", "tokenizer.json"})
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
  auto first = [&](const char* name) { return std::find(names.begin(), names.end(), name); };
  EXPECT_LT(first("config.json"), first("generation_config.json"));
  EXPECT_LT(first("generation_config.json"), first("model.safetensors"));
  EXPECT_LT(first("model.safetensors"), first("tokenizer.json"));
  EXPECT_NE(first("tokenizer.json"), names.end());
}

TEST(LoadOrder, neither_weights_nor_tokenizer_of_an_unsupported_model_are_opened) {
  Broken broken({unknown_type});
  Opened opened(broken.dir.path());
  if (!opened.ok()) GTEST_SKIP() << "no inotify here";
  EXPECT_TRUE(broken.refusal().starts_with("unsupported:"));
  EXPECT_EQ(opened.names(), std::vector<std::string>{"config.json"});
}

TEST(LoadOrder, with_a_tokenizer_elsewhere_the_one_beside_the_weights_is_not_opened) {
  Broken sound({});
  test::TempDir other;
  put_tokenizer(other.path());
  Opened opened(sound.dir.path());
  if (!opened.ok()) GTEST_SKIP() << "no inotify here";
  auto configuration = ModelConfiguration::from_directory(sound.dir.path().string());
  load(std::move(configuration).with_tokenizer_source(other.path().string()), sound.registry);
  auto names = opened.names();
  EXPECT_EQ(std::count(names.begin(), names.end(), "tokenizer.json"), 0);
}

TEST(LoadOrder, constructors_open_no_file) {
  test::TempDir dir;
  test::write_model(dir.path(), fs::path(kData) / "lm/llama_plain.safetensors");
  ModelTypeRegistry builtin, watched;
  add_models(builtin);
  Opened opened(dir.path());
  if (!opened.ok()) GTEST_SKIP() << "no inotify here";
  watched.add("llama", [&](const LoadedModel& loaded) {
    EXPECT_FALSE(opened.names().empty());
    auto model = builtin.create(loaded);
    EXPECT_EQ(opened.names(), std::vector<std::string>());
    return model;
  });
  load(ModelConfiguration::from_directory(dir.path().string()), watched);
}
#endif

}  // namespace
}  // namespace mlxcpp::lm
