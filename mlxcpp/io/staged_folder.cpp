#include "mlxcpp/io/staged_folder.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/utf8.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mlxcpp::io {
namespace {
namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const std::string& what, int code) {
  throw IoError(path.string() + ": " + what + ": " + std::generic_category().message(code));
}

/// False where the file system does not sync folders, too.
bool sync(const fs::path& folder) {
  int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  bool done = ::fsync(fd) == 0 || errno == EINVAL;
  ::close(fd);
  return done;
}

/// Of all staging folders of a target; "<pid>-<number>" follows.
std::string staging_prefix(const fs::path& target) {
  constexpr std::size_t kLongest = 200;  // a name may have 255 bytes
  std::string name = target.filename().string().substr(0, kLongest);
  return ".staging-" + name.substr(0, utf8_prefix(name)) + "-";
}

/// The process that a staging folder of this prefix names; nothing: it is none.
std::optional<pid_t> owner_of(const std::string& name, const std::string& prefix) {
  if (!name.starts_with(prefix)) return {};
  const char *at = name.data() + prefix.size(), *end = name.data() + name.size();
  pid_t pid = 0;
  unsigned number = 0;
  auto first = std::from_chars(at, end, pid);
  if (first.ec != std::errc() || pid <= 0 || first.ptr == end || *first.ptr != '-') return {};
  auto second = std::from_chars(first.ptr + 1, end, number);
  return second.ec == std::errc() && second.ptr == end ? std::optional(pid) : std::nullopt;
}

/// -1 when somebody has it, or it can not be locked.
int lock_folder(const fs::path& folder) {
  int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || ::flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  ::close(fd);
  return -1;
}

/// Staging folders that killed processes left of this target.  Who writes one is alive, and holds
/// its lock, which also tells where its number means nothing here: in another container.
void remove_stale(const fs::path& target) {
  std::error_code ignored;
  std::string prefix = staging_prefix(target);
  std::vector<fs::path> stale;
  for (fs::directory_iterator at(target.parent_path(), ignored), end; at != end;
       at.increment(ignored)) {
    auto pid = owner_of(at->path().filename().string(), prefix);
    if (pid && ::kill(*pid, 0) != 0 && errno == ESRCH) stale.push_back(at->path());
  }
  for (auto& folder : stale) {
    int lock = lock_folder(folder);
    if (lock < 0) continue;
    fs::remove_all(folder, ignored);
    ::close(lock);
  }
}

}  // namespace

StagedFolder::StagedFolder(fs::path target) : target_(fs::absolute(target).lexically_normal()) {
  if (!target_.has_filename()) target_ = target_.parent_path();  // "name/"
  std::error_code error;
  auto type = fs::symlink_status(target_, error).type();
  bool empty = type == fs::file_type::directory && fs::is_empty(target_, error);
  if (type != fs::file_type::not_found && !empty)
    throw IoError(describe(
        target_.string(),
        "exists already",
        "a name that is free, or an empty folder",
        type == fs::file_type::directory ? "a folder with files" : "something else than a folder"));
  remove_stale(target_);
  static std::atomic<unsigned> counter{0};
  for (int tries = 0; tries < 16; ++tries) {
    staging_ = target_.parent_path() / (staging_prefix(target_) + std::to_string(::getpid()) + "-" +
                                        std::to_string(counter++));
    if (::mkdir(staging_.c_str(), 0777) == 0) {
      lock_ = lock_folder(staging_);
      return;
    }
    if (errno != EEXIST) break;
  }
  fail(target_, "cannot write beside it", errno);
}

StagedFolder::~StagedFolder() {
  std::error_code ignored;
  if (!staging_.empty()) fs::remove_all(staging_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

void StagedFolder::commit() {
  if (!sync(staging_)) fail(staging_, "cannot sync", errno);
  if (::rename(staging_.c_str(), target_.c_str()) != 0) fail(target_, "cannot write", errno);
  staging_.clear();
  if (!sync(target_.parent_path()))
    fail(target_, "the folder is written, but may be lost with the machine's power", errno);
}

}  // namespace mlxcpp::io
