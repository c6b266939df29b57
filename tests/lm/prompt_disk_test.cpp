// Prompt caches in a folder: what is written is found again, also after the process was killed at
// any moment.
#include "mlxcpp/lm/prompt_disk.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/lm/prompt_file.h"
#include "tests/lm/small_caches.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>
#include <set>
#include <thread>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;
using test::blank_kv;
using test::first;
using test::held;
using test::Ids;
using test::joined;
using test::kv_caches;

constexpr std::uint64_t kMuch = 1 << 30;

Ids run_of(TokenId from, int n) {
  Ids ids;
  for (int i = 0; i < n; ++i) ids.push_back(from + TokenId(i));
  return ids;
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> all;
  for (auto& item : fs::directory_iterator(folder)) all.push_back(item.path());
  return all;
}

TEST(PromptDisk, finds_what_an_earlier_process_wrote) {
  test::TempDir dir;
  auto ids = run_of(5, 30);
  {
    PromptDisk disk(dir.path() / "new", kMuch);
    EXPECT_TRUE(disk.write("m", ids, kv_caches(ids), PromptKind::user));
    EXPECT_TRUE(disk.write("m", ids, kv_caches(ids), PromptKind::user));
    EXPECT_EQ(disk.size(), 1u);
  }
  PromptDisk disk(dir.path() / "new", kMuch);
  EXPECT_EQ(disk.size(), 1u);
  EXPECT_EQ(disk.nbytes(), fs::file_size(files_in(dir.path() / "new").at(0)));
  auto saved = disk.read("m", joined(first(ids, 20), {1, 2}), 0, blank_kv);
  ASSERT_TRUE(saved);
  EXPECT_EQ(saved->ids, ids);
  EXPECT_EQ(saved->common, 20u);
  EXPECT_EQ(saved->kind, PromptKind::user);
  EXPECT_EQ(held(saved->caches), ids);
  EXPECT_FALSE(disk.read("m", joined(first(ids, 20), {1, 2}), 20, blank_kv));
  EXPECT_FALSE(disk.read("other", ids, 0, blank_kv));
}

TEST(PromptDisk, keeps_states_as_they_were) {
  test::TempDir dir;
  auto ids = run_of(1, 6);
  PromptDisk(dir.path(), kMuch).write("m", ids, test::state_caches(ids), PromptKind::system);
  PromptDisk disk(dir.path(), kMuch);
  EXPECT_FALSE(disk.read("m", ids, 0, test::blank_states));  // it can not be trimmed
  auto saved = disk.read("m", joined(ids, {9}), 0, test::blank_states);
  ASSERT_TRUE(saved);
  EXPECT_EQ(saved->caches.consumed(), std::vector<int>{6});
  auto want = *test::state_caches(ids).state()[0].arrays[0];
  EXPECT_TRUE(mx::array_equal(*saved->caches.state()[0].arrays[0], want).item<bool>());
}

TEST(PromptDisk, removes_torn_files_and_leaves_foreign_ones) {
  test::TempDir dir;
  auto ids = run_of(5, 30), more = run_of(50, 30);
  {
    PromptDisk disk(dir.path(), kMuch);
    disk.write("m", ids, kv_caches(ids), PromptKind::user);
    disk.write("m", more, kv_caches(more), PromptKind::user);
  }
  auto files = files_in(dir.path());
  ASSERT_EQ(files.size(), 2u);
  fs::resize_file(files[0], fs::file_size(files[0]) - 1);
  fs::copy(files[1], dir.path() / (std::string(32, 'a') + ".prompt.safetensors"));  // another name
  dir.write(std::string(32, 'b') + ".prompt.safetensors", "");
  dir.write(".mlxcpp-999999999-0.tmp", "left by a process that is gone");
  dir.write("notes.txt", "mine");
  dir.write("model.safetensors", "mine, too");
  PromptDisk disk(dir.path(), kMuch);
  EXPECT_EQ(disk.size(), 1u);
  std::set<fs::path> left;
  for (auto& path : files_in(dir.path())) left.insert(path);
  EXPECT_EQ(
      left,
      (std::set<fs::path>{files[1], dir.path() / "notes.txt", dir.path() / "model.safetensors"}));
}

TEST(PromptDisk, a_file_that_is_damaged_later_is_no_hit_and_goes) {
  test::TempDir dir;
  auto ids = run_of(5, 30);
  PromptDisk disk(dir.path(), kMuch);
  disk.write("m", ids, kv_caches(ids), PromptKind::user);
  auto file = files_in(dir.path()).at(0);
  std::ofstream(file) << "short";
  EXPECT_FALSE(disk.read("m", ids, 0, blank_kv));
  EXPECT_FALSE(fs::exists(file));
  EXPECT_EQ(disk.nbytes(), 0u);
  disk.write("m", ids, kv_caches(ids), PromptKind::user);
  fs::remove(files_in(dir.path()).at(0));  // by another process
  EXPECT_FALSE(disk.read("m", ids, 0, blank_kv));
}

TEST(PromptDisk, stays_within_its_budget_and_gives_up_what_was_used_longest_ago) {
  test::TempDir dir;
  std::uint64_t budget = 100 << 10;
  {
    PromptDisk disk(dir.path(), budget);
    auto a = run_of(1000, 50);
    for (TokenId i = 1; i <= 40; ++i) {
      auto ids = run_of(1000 * i, 50);
      EXPECT_TRUE(disk.write("m", ids, kv_caches(ids), PromptKind::assistant));
      std::uint64_t there = 0;
      for (auto& path : files_in(dir.path())) there += fs::file_size(path);
      EXPECT_LE(there, budget);
      EXPECT_EQ(there, disk.nbytes());
      EXPECT_TRUE(disk.read("m", a, 0, blank_kv)) << i;  // in use all the time
    }
    EXPECT_FALSE(disk.read("m", run_of(2000, 50), 0, blank_kv));
    auto large = run_of(1, 60000);
    EXPECT_FALSE(disk.write("m", large, kv_caches(large), PromptKind::assistant));
  }
  PromptDisk smaller(dir.path(), 10 << 10);
  EXPECT_LE(smaller.nbytes(), std::uint64_t(10 << 10));
}

TEST(PromptDisk, a_store_spills_there_and_finds_it_again) {
  test::TempDir dir;
  auto disk = std::make_shared<PromptDisk>(dir.path(), kMuch);
  auto a = run_of(100, 40), b = run_of(500, 40);
  {
    PromptCache store({.max_entries = 1});
    store.spill_to(disk);
    store.insert("m", a, kv_caches(a));
    store.insert("m", b, kv_caches(b));
    EXPECT_EQ(disk->size(), 1u);
    EXPECT_FALSE(store.lookup("m", a));
    auto hit = store.lookup("m", a, blank_kv);
    ASSERT_TRUE(hit);
    EXPECT_EQ(hit->tokens, 39);
    EXPECT_EQ(held(hit->caches), first(a, 39));
    EXPECT_EQ(store.lookup("m", a)->tokens, 39);  // it is in memory now
    store.flush();
  }
  EXPECT_EQ(disk->size(), 2u);
}

TEST(PromptDisk, says_why_a_folder_can_not_be_used) {
  test::TempDir dir;
  auto file = dir.write("file", "");
  EXPECT_THROW(PromptDisk(file, kMuch), IoError);
}

// ---- killed while it writes

constexpr const char* kFolder = "MLXCPP_TEST_KILLED";

/// Runs in a process of its own until it is killed: entries of one length, and one prompt file that
/// holds 1000 tokens of n in its n-th version.
TEST(KilledProcess, DISABLED_writes) {
  const char* folder = std::getenv(kFolder);
  ASSERT_TRUE(folder);
  PromptDisk disk(fs::path(folder) / "disk", kMuch);
  std::random_device seed;
  TokenId from = seed() % 1000000;
  for (TokenId n = 1;; ++n) {
    auto ids = run_of(from + n, 2000);
    disk.write("m", ids, kv_caches(ids), PromptKind::user);
    Ids same(1000, n % 1000);
    PromptFileInfo info;
    info.ids = same;
    PromptFile{kv_caches(same).state(), info.metadata()}.write(fs::path(folder) /
                                                               "one.safetensors");
  }
}

void expect_whole(const fs::path& folder) {
  PromptDisk disk(folder / "disk", kMuch);
  for (auto& path : files_in(folder / "disk")) {
    auto file = PromptFile::read(path);
    auto ids = PromptFileInfo::of(file.metadata).ids.value();
    auto saved = disk.read("m", joined(ids, {1}), 0, blank_kv);
    ASSERT_TRUE(saved) << path;
    EXPECT_EQ(held(saved->caches), ids);
  }
  EXPECT_EQ(disk.size(), files_in(folder / "disk").size());  // nothing is left over
  if (!fs::exists(folder / "one.safetensors")) return;
  auto one = PromptFile::read(folder / "one.safetensors");
  auto caches = blank_kv();
  caches.set_state(one.caches);
  EXPECT_EQ(held(caches), PromptFileInfo::of(one.metadata).ids.value());
}

TEST(KilledProcess, leaves_the_old_file_or_the_new_one_each_of_100_times) {
  test::TempDir dir;
  std::mt19937 random(3);
  fs::create_directories(dir.path() / "disk");
  int written = 0;
  for (int i = 0; i < 100; ++i) {
    pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::setenv(kFolder, dir.path().c_str(), 1);
      ::execl("/proc/self/exe",
              "child",
              "--gtest_filter=KilledProcess.DISABLED_writes",
              "--gtest_also_run_disabled_tests",
              "--gtest_brief=1",
              nullptr);
      ::_exit(127);
    }
    // Not before it writes: its start takes longer than a write.
    auto count = files_in(dir.path() / "disk").size();
    for (int wait = 0; wait < 3000 && files_in(dir.path() / "disk").size() == count; ++wait)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20000));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    written += files_in(dir.path() / "disk").size() > count;
    expect_whole(dir.path());
    if (i % 10 == 9)
      fs::remove_all(dir.path() / "disk"), fs::create_directories(dir.path() / "disk");
  }
  EXPECT_GT(written, 80);
}

}  // namespace
}  // namespace mlxcpp::lm
