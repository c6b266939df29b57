#include "mlxcpp/io/file.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/utf8.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

namespace mlxcpp::io {
namespace {
namespace fs = std::filesystem;

// Linux reads and writes at most 2 GiB at once, macOS refuses more.
constexpr std::size_t kAtOnce = std::size_t{1} << 30;

[[noreturn]] void fail(const fs::path& path, std::string_view what, int code) {
  throw IoError(path.string() + ": " + std::string(what) + ": " +
                std::generic_category().message(code));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

std::string_view kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

void require_regular(const fs::path& path, mode_t mode) {
  if (!S_ISREG(mode))
    throw IoError(describe(path.string(), "cannot be used", "a regular file", kind_of(mode)));
}

struct OpenFile {
  Descriptor fd;
  std::uintmax_t size;
};

// Without O_NONBLOCK a pipe without a writer would hold us in open() for ever.
std::optional<OpenFile> open_regular(const fs::path& path) {
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (fd.get() < 0) {
    if (errno == ENOENT) return {};
    // A socket can not be opened at all; say what it is rather than "no such device".
    if (struct stat info; errno == ENXIO && ::stat(path.c_str(), &info) == 0)
      require_regular(path, info.st_mode);
    fail(path, "cannot open", errno);
  }
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) fail(path, "cannot read", errno);
  require_regular(path, info.st_mode);
  return OpenFile{std::move(fd), static_cast<std::uintmax_t>(info.st_size)};
}

[[noreturn]] void fail_too_large(const fs::path& path, std::size_t limit) {
  throw IoError(
      describe(path.string(), "file is too large", "at most " + std::to_string(limit) + " bytes"));
}

std::optional<std::string> read_bounded(const fs::path& path, std::size_t limit) {
  auto file = open_regular(path);
  if (!file) return {};
  if (file->size > limit) fail_too_large(path, limit);
  // One byte more than the size says shows the end without another round; a file that grows
  // meanwhile is caught by the limit.
  std::string text;
  std::size_t length = 0;
  std::size_t step = static_cast<std::size_t>(file->size) + 1;
  for (;;) {
    text.resize(std::min(length + step, limit + 1));
    ssize_t n = ::read(file->fd.get(), text.data() + length, text.size() - length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, "cannot read", errno);
    if (n == 0) break;
    length += static_cast<std::size_t>(n);
    if (length > limit) fail_too_large(path, limit);
    step = std::max<std::size_t>(step, 4096);
  }
  text.resize(length);
  return text;
}

void require_utf8(const fs::path& path, const std::string& text) {
  if (std::size_t good = utf8_prefix(text); good != text.size())
    throw IoError(path.string() + ": not UTF-8 at byte " + std::to_string(good));
}

[[noreturn]] void fail_missing(const fs::path& path) {
  throw IoError(path.string() + ": no such file");
}

void sync_folder(const fs::path& path) {
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems do not sync folders, and say so by EINVAL.
  if (fd.get() < 0 || (::fsync(fd.get()) != 0 && errno != EINVAL))
    fail(path, "the file is written, but its folder could not be synced to the disk", errno);
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

}  // namespace

std::string read_bytes(const fs::path& path, std::size_t limit) {
  auto bytes = read_bounded(path, limit);
  if (!bytes) fail_missing(path);
  return std::move(*bytes);
}

std::optional<std::string> read_text_if_exists(const fs::path& path, std::size_t limit) {
  auto text = read_bounded(path, limit);
  if (text) require_utf8(path, *text);
  return text;
}

std::string read_text(const fs::path& path, std::size_t limit) {
  auto text = read_text_if_exists(path, limit);
  if (!text) fail_missing(path);
  return std::move(*text);
}

std::shared_ptr<const MappedFile> MappedFile::open(const fs::path& path) {
  auto file = open_regular(path);
  if (!file) fail_missing(path);
  std::span<const std::byte> bytes;
  if (file->size > 0) {  // a map of no bytes is an error to the system
    auto size = static_cast<std::size_t>(file->size);
    void* at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file->fd.get(), 0);
    if (at == MAP_FAILED) fail(path, "cannot map into memory", errno);
    bytes = {static_cast<const std::byte*>(at), size};
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(path, file->fd.release(), bytes));
}

MappedFile::MappedFile(fs::path path, int fd, std::span<const std::byte> bytes)
    : path_(std::move(path)), fd_(fd), bytes_(bytes) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  ::close(fd_);
}

void MappedFile::read(std::size_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    ssize_t n = ::pread(fd_, to.data(), std::min(to.size(), kAtOnce), off_t(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path_, "cannot read", errno);
    if (n == 0)
      throw IoError(
          describe(path_.string(), "became shorter", std::to_string(bytes_.size()) + " bytes"));
    to = to.subspan(std::size_t(n));
    offset += std::size_t(n);
  }
}

void MappedFile::forget(std::span<const std::byte> part) const {
  static const auto page = std::uintptr_t(::sysconf(_SC_PAGESIZE));
  auto begin = reinterpret_cast<std::uintptr_t>(part.data()), end = begin + part.size();
  begin = (begin + page - 1) / page * page;
  end = end / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  mode_t mode = 0666;  // less the umask
  bool exists = false;
  if (struct stat info; ::stat(path_.c_str(), &info) == 0) {
    require_regular(path_, info.st_mode);  // renaming over /dev/null would replace the device
    mode = info.st_mode & 07777;
    exists = true;
  }
  // A link stays a link: its target is what we replace.
  std::error_code ignored;
  if (exists && fs::is_symlink(path_, ignored)) path_ = fs::canonical(path_, ignored);
  static std::atomic<unsigned> counter{0};
  for (int tries = 0; fd_ < 0 && tries < 100; ++tries) {
    temporary_ = folder_of(path_) / (".mlxcpp-" + std::to_string(::getpid()) + "-" +
                                     std::to_string(counter++) + ".tmp");
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & 0777);
    if (fd_ < 0 && errno != EEXIST) break;
  }
  if (fd_ < 0) fail(path_, "cannot write in its folder", errno);
  if (exists) ::fchmod(fd_, mode);  // best effort: the umask must not narrow what was there
}

AtomicFile::~AtomicFile() { close_and_remove(); }

void AtomicFile::close_and_remove() noexcept {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
  fd_ = -1;
}

void AtomicFile::write(std::string_view bytes) { write(std::as_bytes(std::span(bytes))); }

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (fd_ < 0) throw IoError(path_.string() + ": cannot write: already closed");
  while (!bytes.empty()) {
    ssize_t n = ::write(fd_, bytes.data(), std::min(bytes.size(), kAtOnce));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      int code = errno;
      close_and_remove();
      fail(path_, "cannot write", code);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void AtomicFile::commit() {
  if (fd_ < 0) throw IoError(path_.string() + ": cannot write: already closed");
  // close() reports what a network file system could not store.
  bool stored = ::fsync(fd_) == 0;
  int code = errno;
  if (::close(std::exchange(fd_, -1)) != 0 && stored) {
    stored = false;
    code = errno;
  }
  if (stored && ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    stored = false;
    code = errno;
  }
  if (!stored) {
    ::unlink(temporary_.c_str());
    fail(path_, "cannot write", code);
  }
  sync_folder(folder_of(path_));
}

void write_atomically(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace mlxcpp::io
