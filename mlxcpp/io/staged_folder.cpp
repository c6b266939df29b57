#include "mlxcpp/io/staged_folder.h"

#include "mlxcpp/base/error.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

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
  static std::atomic<unsigned> counter{0};
  for (int tries = 0; tries < 16; ++tries) {
    staging_ = target_.parent_path() /
               (".staging-" + std::to_string(::getpid()) + "-" + std::to_string(counter++));
    if (::mkdir(staging_.c_str(), 0777) == 0) return;
    if (errno != EEXIST) break;
  }
  fail(target_, "cannot write beside it", errno);
}

StagedFolder::~StagedFolder() {
  std::error_code ignored;
  if (!staging_.empty()) fs::remove_all(staging_, ignored);
}

void StagedFolder::commit() {
  if (!sync(staging_)) fail(staging_, "cannot sync", errno);
  if (::rename(staging_.c_str(), target_.c_str()) != 0) fail(target_, "cannot write", errno);
  staging_.clear();
  if (!sync(target_.parent_path()))
    fail(target_, "the folder is written, but may be lost with the machine's power", errno);
}

}  // namespace mlxcpp::io
