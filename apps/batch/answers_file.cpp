#include "apps/batch/answers_file.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace mlxcpp::apps {
namespace {

Answered read_answer(std::string_view line, const std::string& where) {
  auto f = io::Fields::parse(line, where);
  std::int64_t number = 0;
  f.need("line", &number);
  if (number < 1 || !(f.has("text") || f.has("error")))
    throw InputError(describe(where, "no answer of `mlxcpp batch`", "line, and text or error"));
  return {std::size_t(number), f.json_text("id").value_or("")};
}

}  // namespace

void AnswersFile::fail(const char* what) const {
  throw IoError(describe(path_.string(), what, {}, std::strerror(errno)));
}

AnswersFile::AnswersFile(std::filesystem::path path) : path_(std::move(path)) {
  // Without waiting: it may be a pipe that nobody reads.
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
  if (fd_ < 0) fail("can not be written");
  try {
    struct stat info {};
    if (::fstat(fd_, &info) != 0) fail("can not be read");
    if (!S_ISREG(info.st_mode))
      throw IoError(describe(path_.string(), "not a regular file", "a file"));
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0)
      throw IoError(describe(path_.string(), "in use by another process"));
    if (info.st_size > 0) read();
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

AnswersFile::~AnswersFile() { ::close(fd_); }

void AnswersFile::read() {
  auto file = io::MappedFile::open(path_);
  auto bytes = file->bytes();
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::size_t at = 0;
  for (std::size_t end; (end = text.find('\n', at)) != text.npos; at = end + 1) {
    std::string where = path_.string() + ": line " + std::to_string(answered_.size() + 1);
    try {
      answered_.push_back(read_answer(text.substr(at, end - at), where));
    } catch (const ConfigError& e) {
      throw InputError(e.what());
    }
  }
  // What is not ours must not be cut: without a whole line of ours, it must begin like one.
  std::string_view rest = text.substr(at), begin = "{\"line\": ";
  if (!rest.empty() && rest.substr(0, begin.size()) != begin.substr(0, rest.size()))
    throw InputError(describe(path_.string(), "ends with something that is no answer"));
  if (!rest.empty() && ::ftruncate(fd_, off_t(at)) != 0) fail("can not be repaired");
}

void AnswersFile::add(std::string_view lines) {
  while (!lines.empty()) {
    ssize_t n = ::write(fd_, lines.data(), lines.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("can not be written");
    lines.remove_prefix(std::size_t(n));
  }
}

void AnswersFile::sync() {
  if (::fsync(fd_) != 0) fail("can not be written");
}

}  // namespace mlxcpp::apps
