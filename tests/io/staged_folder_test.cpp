// Folders that appear as a whole.
#include "mlxcpp/io/staged_folder.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/json_edit.h"
#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

namespace mlxcpp::io {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::TempDir;

int entries(const fs::path& folder) {
  return int(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(StagedFolder, takes_its_name_with_all_files_on_commit) {
  for (std::string name : {"new", "slash/", "empty"}) {
    TempDir dir;
    fs::create_directory(dir.path() / "empty");
    {
      StagedFolder folder(dir.path() / name);
      std::ofstream(folder.path() / "a") << "text";
      EXPECT_FALSE(fs::exists(dir.path() / name / "a"));
      folder.commit();
    }
    EXPECT_TRUE(fs::exists(dir.path() / name / "a")) << name;
    EXPECT_EQ(entries(dir.path()), name == "empty" ? 1 : 2);
  }
}

TEST(StagedFolder, leaves_nothing_without_commit) {
  TempDir dir;
  {
    StagedFolder folder(dir.path() / "new");
    fs::create_directory(folder.path() / "inside");
    std::ofstream(folder.path() / "inside" / "a") << "text";
    EXPECT_EQ(entries(dir.path()), 1);
  }
  EXPECT_EQ(entries(dir.path()), 0);
}

TEST(StagedFolder, replaces_nothing) {
  TempDir dir;
  dir.write("file", "x");
  fs::create_directory(dir.path() / "full");
  std::ofstream(dir.path() / "full" / "a") << "mine";
  auto refusal = [&](const char* name) {
    return message_of<IoError>([&] { StagedFolder folder(dir.path() / name); });
  };
  EXPECT_EQ(refusal("file"),
            (dir.path() / "file").string() +
                ": exists already; expected a name that is free, or "
                "an empty folder, found something else than a folder");
  EXPECT_EQ(refusal("full"),
            (dir.path() / "full").string() +
                ": exists already; expected a name that is free, or "
                "an empty folder, found a folder with files");
  EXPECT_EQ(refusal("missing/new"),
            (dir.path() / "missing/new").string() +
                ": cannot write beside it: No such file or directory");
  EXPECT_EQ(entries(dir.path()), 2);
}

TEST(StagedFolder, that_finds_its_name_taken_at_the_end_leaves_what_is_there) {
  TempDir dir;
  {
    StagedFolder folder(dir.path() / "new");
    fs::create_directory(dir.path() / "new");
    std::ofstream(dir.path() / "new" / "theirs") << "x";
    EXPECT_NE(message_of<IoError>([&] { folder.commit(); }), "no error");
  }
  EXPECT_TRUE(fs::exists(dir.path() / "new" / "theirs"));
  EXPECT_EQ(entries(dir.path()), 1);
}

/// A process that began to write `target`: what it left, dead or alive.
class Writer {
 public:
  explicit Writer(const fs::path& target) {
    int told[2];
    EXPECT_EQ(::pipe(told), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      StagedFolder folder(target);
      std::ofstream(folder.path() / "half") << "written";
      bool said = ::write(told[1], "x", 1) == 1;
      while (said) ::pause();
      ::_exit(1);
    }
    char x;
    EXPECT_EQ(::read(told[0], &x, 1), 1);
    ::close(told[0]), ::close(told[1]);
  }
  ~Writer() { kill(); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_;
};

TEST(StagedFolder, what_a_killed_process_left_goes_with_the_next_one_of_the_same_target) {
  TempDir dir;
  for (const char* name : {"new", "new-1", "other"}) Writer(dir.path() / name).kill();
  EXPECT_EQ(entries(dir.path()), 3);
  {
    StagedFolder folder(dir.path() / "new");
    EXPECT_EQ(entries(dir.path()), 3) << "one went, one came";
    EXPECT_TRUE(fs::is_empty(folder.path()));
    folder.commit();
  }
  EXPECT_TRUE(fs::is_empty(dir.path() / "new"));
  StagedFolder{dir.path() / "new-1"};
  StagedFolder{dir.path() / "other"};
  EXPECT_EQ(entries(dir.path()), 1);
}

TEST(StagedFolder, what_another_process_is_writing_stays) {
  TempDir dir;
  Writer alive(dir.path() / "new");
  { StagedFolder folder(dir.path() / "new"); }
  EXPECT_EQ(entries(dir.path()), 1);
  alive.kill();
  { StagedFolder folder(dir.path() / "new"); }
  EXPECT_EQ(entries(dir.path()), 0);
}

/// Where its number is nobody's, or somebody else's, as in another container.
TEST(StagedFolder, what_is_locked_or_only_looks_alike_stays) {
  TempDir dir;
  Writer gone(dir.path() / "new");
  fs::path staging = fs::directory_iterator(dir.path())->path();
  gone.kill();
  int lock = ::open(staging.c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(lock, LOCK_EX), 0);
  std::vector<fs::path> alike;
  for (std::string name : {".staging-new", ".staging-new-", ".staging-new-x-0", ".staging-new-0-0"})
    fs::create_directory(alike.emplace_back(dir.path() / name));
  fs::path link = staging.string() + "7";
  fs::create_directory_symlink(alike[0], link);
  alike.push_back(link);
  { StagedFolder folder(dir.path() / "new"); }
  EXPECT_TRUE(fs::exists(staging / "half"));
  for (auto& path : alike) EXPECT_TRUE(fs::exists(path)) << path;
  ::close(lock);
  { StagedFolder folder(dir.path() / "new"); }
  EXPECT_FALSE(fs::exists(staging));
  for (auto& path : alike) EXPECT_TRUE(fs::exists(path)) << path;
}

TEST(StagedFolder, takes_names_as_long_as_there_can_be) {
  TempDir dir;
  StagedFolder folder(dir.path() / std::string(255, 'n'));
  folder.commit();
  EXPECT_EQ(entries(dir.path()), 1);
}

TEST(JsonEdit, writes_keys_sorted_and_indented_as_pythons_json_does) {
  JsonEdit edit(R"({"b": [1, 2.5, "x\u00e9"], "a": {"d": {}, "c": null}, "gone": 1})");
  edit.remove("gone");
  edit.remove("never");
  edit.set("new", "{\"k\": true}");
  EXPECT_TRUE(edit.has("a"));
  EXPECT_FALSE(edit.has("gone"));
  EXPECT_EQ(edit.get("new"), "{\"k\":true}");
  EXPECT_EQ(edit.get("gone"), std::nullopt);
  EXPECT_EQ(edit.text(), R"({
    "a": {
        "c": null,
        "d": {}
    },
    "b": [
        1,
        2.5,
        "xé"
    ],
    "new": {
        "k": true
    }
})");
}

TEST(JsonEdit, writes_numbers_that_are_not_finite_as_mlx_lm_does) {
  JsonEdit edit(R"({"limit": [0.0, Infinity], "low": -Infinity, "nan": NaN})");
  EXPECT_EQ(edit.get("limit"), R"([0.0,{"__float__":"Infinity"}])");
  EXPECT_EQ(edit.get("low"), R"({"__float__":"-Infinity"})");
  EXPECT_EQ(edit.get("nan"), R"({"__float__":"NaN"})");
}

TEST(JsonEdit, refuses_what_is_no_object) {
  EXPECT_EQ(message_of<ConfigError>([] { JsonEdit edit("[1]", "x"); }), "x: not a JSON object");
  EXPECT_NE(message_of<ConfigError>([] { JsonEdit edit("{\"a\": ", "x"); }), "no error");
}

}  // namespace
}  // namespace mlxcpp::io
