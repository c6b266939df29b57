#include "mlxcpp/io/hub.h"

#include "mlxcpp/base/error.h"
#include "tests/io/support.h"

#include <gtest/gtest.h>

namespace mlxcpp::io {
namespace {

using testing::Environment;
using testing::message_of;
using testing::TempFolder;

// None of the variables that say where caches are; the home directory is given.
struct CleanEnvironment {
  explicit CleanEnvironment(const char* home = "/home/u") : home_("HOME", home) {}
  Environment home_;
  Environment others_[5] = {{"HF_HUB_CACHE", nullptr},
                            {"HUGGINGFACE_HUB_CACHE", nullptr},
                            {"HF_HOME", nullptr},
                            {"XDG_CACHE_HOME", nullptr},
                            {"MLXCPP_HOME", nullptr}};
};

TEST(Hub, cache_is_found_through_the_variables_in_their_order) {
  CleanEnvironment clean;
  EXPECT_EQ(hub_cache_directory(), "/home/u/.cache/huggingface/hub");
  Environment xdg("XDG_CACHE_HOME", "/xdg");
  EXPECT_EQ(hub_cache_directory(), "/xdg/huggingface/hub");
  Environment hf("HF_HOME", "~/hf");
  EXPECT_EQ(hub_cache_directory(), "/home/u/hf/hub");
  Environment old("HUGGINGFACE_HUB_CACHE", "/old");
  EXPECT_EQ(hub_cache_directory(), "/old");
  Environment hub("HF_HUB_CACHE", "/hub");
  EXPECT_EQ(hub_cache_directory(), "/hub");
  Environment empty("HF_HUB_CACHE", "");
  EXPECT_EQ(hub_cache_directory(), "/old");
}

TEST(Hub, own_cache_is_found_through_the_variables_in_their_order) {
  CleanEnvironment clean;
  EXPECT_EQ(cache_directory(), "/home/u/.cache/mlxcpp");
  Environment xdg("XDG_CACHE_HOME", "/xdg");
  EXPECT_EQ(cache_directory(), "/xdg/mlxcpp");
  Environment relative("XDG_CACHE_HOME", "not/absolute");
  EXPECT_EQ(cache_directory(), "/home/u/.cache/mlxcpp");
  Environment own("MLXCPP_HOME", "/own");
  EXPECT_EQ(cache_directory(), "/own");
  EXPECT_EQ(default_model_path(), "/own/models/SmolLM2-135M-Instruct-Q4_1.gguf");
}

TEST(Hub, without_a_home_the_users_entry_is_asked) {
  CleanEnvironment clean(nullptr);
  EXPECT_TRUE(cache_directory().is_absolute());
}

TEST(Hub, snapshot_of_a_branch_a_tag_and_a_commit_is_found) {
  TempFolder folder;
  CleanEnvironment clean;
  Environment cache("HF_HUB_CACHE", folder.path().c_str());
  auto repo = folder / "models--org--name";
  folder.put("models--org--name/refs/main", "abc123\n");
  folder.put("models--org--name/refs/refs/pr/3", "def456");
  folder.put("models--org--name/snapshots/abc123/config.json", "{}");
  folder.put("models--org--name/snapshots/def456/config.json", "{}");
  EXPECT_EQ(find_in_hub_cache("org/name"), repo / "snapshots/abc123");
  EXPECT_EQ(find_in_hub_cache("org/name", "refs/pr/3"), repo / "snapshots/def456");
  EXPECT_EQ(find_in_hub_cache("org/name", "def456"), repo / "snapshots/def456");
  EXPECT_EQ(find_in_hub_cache("org/name", "v2"), std::nullopt);
  EXPECT_EQ(find_in_hub_cache("org/name", "main/x"), std::nullopt);
  EXPECT_EQ(find_in_hub_cache("org/name", "refs"), std::nullopt);
  EXPECT_EQ(find_in_hub_cache("org/other"), std::nullopt);
}

TEST(Hub, a_model_without_organisation_is_found) {
  TempFolder folder;
  CleanEnvironment clean;
  Environment cache("HF_HUB_CACHE", folder.path().c_str());
  folder.put("models--gpt2/refs/main", "abc");
  folder.put("models--gpt2/snapshots/abc/config.json", "{}");
  EXPECT_EQ(find_in_hub_cache("gpt2"), folder / "models--gpt2/snapshots/abc");
}

TEST(Hub, a_reference_to_no_snapshot_is_nothing_and_a_bad_one_is_an_error) {
  TempFolder folder;
  CleanEnvironment clean;
  Environment cache("HF_HUB_CACHE", folder.path().c_str());
  auto ref = folder.put("models--org--name/refs/main", "abc");
  EXPECT_EQ(find_in_hub_cache("org/name"), std::nullopt);
  folder.put("models--org--name/refs/main", "../../other");
  EXPECT_EQ(message_of<IoError>([] { find_in_hub_cache("org/name"); }),
            ref.string() + ": not a reference; expected a commit, found \"../../other\"");
}

TEST(Hub, own_cache_holds_models_by_joined_names) {
  TempFolder folder;
  CleanEnvironment clean;
  Environment own("MLXCPP_HOME", folder.path().c_str());
  EXPECT_EQ(find_in_own_cache("org/name"), std::nullopt);
  folder.put("models/org--name/config.json", "{}");
  EXPECT_EQ(find_in_own_cache("org/name"), folder / "models/org--name");
}

TEST(Hub, names_of_models_have_a_form) {
  for (auto good : {"org/name", "name", "mlx-community/Qwen3-0.6B-4bit", "a_b/c.d"})
    EXPECT_TRUE(is_repo_id(good)) << good;
  std::string long_name(97, 'x');
  for (std::string bad : {"",
                          "/",
                          "a/",
                          "/a",
                          "a/b/c",
                          "..",
                          "a/..",
                          "../a",
                          "a..b",
                          "a--b/c",
                          ".a",
                          "a.",
                          "-a",
                          "a-",
                          "a b",
                          "a\\b",
                          "a/b.git",
                          "/etc/passwd",
                          "ä"})
    EXPECT_FALSE(is_repo_id(bad)) << bad;
  EXPECT_FALSE(is_repo_id(long_name));
  EXPECT_EQ(message_of<InputError>([] { find_in_hub_cache("../x"); }),
            "model: bad name; expected org/name, found \"../x\"");
  EXPECT_EQ(message_of<InputError>([] { find_in_own_cache("../x"); }),
            "model: bad name; expected org/name, found \"../x\"");
}

TEST(Hub, revisions_have_a_form) {
  for (std::string bad : {"", "/", "a/", "/a", "..", "a/../b", ".hidden", "a//b", "a b"})
    EXPECT_EQ(message_of<InputError>([&] { find_in_hub_cache("org/name", bad); }),
              "revision: bad name; expected a branch, tag or commit, found \"" + bad + "\"");
}

}  // namespace
}  // namespace mlxcpp::io
