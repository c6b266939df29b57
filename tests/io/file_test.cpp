#include "mlxcpp/io/file.h"

#include "mlxcpp/base/error.h"
#include "tests/io/support.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <csignal>

namespace mlxcpp::io {
namespace {

using testing::message_of;
using testing::slurp;
using testing::TempFolder;

TEST(ReadText, gives_the_whole_file) {
  TempFolder folder;
  std::string text(100'000, 'x');
  EXPECT_EQ(read_text(folder.put("a", text), 1 << 20), text);
  EXPECT_EQ(read_text(folder.put("empty", ""), 10), "");
  EXPECT_EQ(read_text_if_exists(folder / "a", 1 << 20), text);
}

TEST(ReadText, limit_is_the_longest_that_is_read) {
  TempFolder folder;
  EXPECT_EQ(read_text(folder.put("ten", "0123456789"), 10), "0123456789");
  auto path = folder.put("eleven", "0123456789a");
  EXPECT_EQ(message_of<IoError>([&] { read_text(path, 10); }),
            path.string() + ": file is too large; expected at most 10 bytes");
}

TEST(ReadText, a_file_without_a_size_is_read_and_bounded) {
  // /proc says 0 bytes of files that have some.
  if (!std::filesystem::exists("/proc/self/status")) GTEST_SKIP() << "no /proc";
  EXPECT_EQ(read_text("/proc/self/status", 1 << 20).substr(0, 5), "Name:");
  EXPECT_EQ(message_of<IoError>([] { read_text("/proc/self/status", 10); }),
            "/proc/self/status: file is too large; expected at most 10 bytes");
}

TEST(ReadText, missing_file_is_nothing_or_an_error) {
  TempFolder folder;
  auto path = folder / "no";
  EXPECT_EQ(read_text_if_exists(path, 10), std::nullopt);
  EXPECT_EQ(message_of<IoError>([&] { read_text(path, 10); }), path.string() + ": no such file");
  EXPECT_EQ(message_of<IoError>([&] { read_bytes(path, 10); }), path.string() + ": no such file");
  std::filesystem::create_symlink("nowhere", folder / "dangling");
  EXPECT_EQ(read_text_if_exists(folder / "dangling", 10), std::nullopt);
}

TEST(ReadText, other_reasons_not_to_open_are_errors_even_when_it_may_be_missing) {
  TempFolder folder;
  auto below_file = folder.put("file", "x") / "inside";
  EXPECT_EQ(message_of<IoError>([&] { read_text_if_exists(below_file, 10); }),
            below_file.string() + ": cannot open: Not a directory");
  std::filesystem::create_symlink("loop", folder / "loop");
  EXPECT_EQ(message_of<IoError>([&] { read_text_if_exists(folder / "loop", 10); }),
            (folder / "loop").string() + ": cannot open: Too many levels of symbolic links");
}

TEST(ReadText, unreadable_file_is_named_with_the_reason) {
  TempFolder folder;
  auto path = folder.put("secret", "x");
  ::chmod(path.c_str(), 0);
  // Root reads everything, so be somebody else meanwhile.
  bool was_root = ::geteuid() == 0;
  ASSERT_EQ(::seteuid(was_root ? 65534 : ::geteuid()), 0);
  std::string message = message_of<IoError>([&] { read_text(path, 10); });
  ASSERT_EQ(::seteuid(was_root ? 0 : ::geteuid()), 0);
  EXPECT_EQ(message, path.string() + ": cannot open: Permission denied");
}

TEST(ReadText, only_regular_files_are_read) {
  TempFolder folder;
  auto pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);  // without a writer: a plain open would wait
  EXPECT_EQ(message_of<IoError>([&] { read_text(pipe, 10); }),
            pipe.string() + ": cannot be used; expected a regular file, found a pipe");
  EXPECT_EQ(
      message_of<IoError>([&] { read_text(folder.path(), 10); }),
      folder.path().string() + ": cannot be used; expected a regular file, found a directory");
  EXPECT_EQ(message_of<IoError>([] { read_text("/dev/zero", 10); }),
            "/dev/zero: cannot be used; expected a regular file, found a device");
  EXPECT_EQ(message_of<IoError>([&] { MappedFile::open(pipe); }),
            pipe.string() + ": cannot be used; expected a regular file, found a pipe");

  auto socket = folder / "socket";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket.c_str(), sizeof address.sun_path - 1);
  int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(message_of<IoError>([&] { read_text(socket, 10); }),
            socket.string() + ": cannot be used; expected a regular file, found a socket");
  ::close(fd);
}

TEST(ReadText, ill_formed_utf8_is_refused_by_its_place_and_read_as_bytes) {
  TempFolder folder;
  auto path = folder.put("bad",
                         "ab\xFF"
                         "cd");
  EXPECT_EQ(message_of<IoError>([&] { read_text(path, 10); }),
            path.string() + ": not UTF-8 at byte 2");
  EXPECT_EQ(read_bytes(path, 10),
            "ab\xFF"
            "cd");
}

TEST(MappedFile, views_outlive_the_opener) {
  TempFolder folder;
  std::shared_ptr<const MappedFile> copy;
  {
    auto file = MappedFile::open(folder.put("a", "hello"));
    copy = file;
  }
  std::filesystem::remove(folder / "a");
  ASSERT_EQ(copy->bytes().size(), 5u);
  EXPECT_EQ(std::memcmp(copy->bytes().data(), "hello", 5), 0);
}

TEST(MappedFile, empty_file_has_no_bytes_and_a_missing_one_is_an_error) {
  TempFolder folder;
  EXPECT_TRUE(MappedFile::open(folder.put("empty", ""))->bytes().empty());
  auto path = folder / "no";
  EXPECT_EQ(message_of<IoError>([&] { MappedFile::open(path); }), path.string() + ": no such file");
}

TEST(MappedFile, parts_are_read_without_the_map) {
  TempFolder folder;
  auto file = MappedFile::open(folder.put("a", "hello world"));
  std::string text(5, '?');
  file->read(6, std::as_writable_bytes(std::span(text)));
  EXPECT_EQ(text, "world");
  file->read(11, {});
}

TEST(MappedFile, a_file_that_became_shorter_is_an_error_to_read) {
  TempFolder folder;
  auto path = folder.put("a", "hello world");
  auto file = MappedFile::open(path);
  std::filesystem::resize_file(path, 8);
  std::string text(5, '?');
  EXPECT_EQ(message_of<IoError>([&] { file->read(6, std::as_writable_bytes(std::span(text))); }),
            path.string() + ": became shorter; expected 11 bytes");
}

TEST(MappedFile, forgotten_pages_are_read_again) {
  TempFolder folder;
  std::string text(100'000, 'x');
  text.replace(50'000, 5, "hello");
  auto file = MappedFile::open(folder.put("a", text));
  for (std::size_t part : {0, 1, 4096, 50'000, 99'999}) {
    file->forget(file->bytes().subspan(part));
    EXPECT_EQ(std::memcmp(file->bytes().data(), text.data(), text.size()), 0);
  }
  file->forget({});
}

TEST(AtomicFile, commit_replaces_the_file_at_once_and_leaves_no_other) {
  TempFolder folder;
  folder.put("a", "old");
  AtomicFile file(folder / "a");
  file.write("new ");
  file.write("text");
  EXPECT_EQ(slurp(folder / "a"), "old");
  file.commit();
  EXPECT_EQ(slurp(folder / "a"), "new text");
  EXPECT_EQ(folder.listing(), "a");
}

TEST(AtomicFile, dropped_without_commit_leaves_everything_as_it_was) {
  TempFolder folder;
  folder.put("a", "old");
  { AtomicFile(folder / "a").write("new"); }
  { AtomicFile(folder / "b").write("new"); }
  EXPECT_EQ(slurp(folder / "a"), "old");
  EXPECT_EQ(folder.listing(), "a");
}

TEST(AtomicFile, two_writers_do_not_meet) {
  TempFolder folder;
  AtomicFile one(folder / "a"), two(folder / "a");
  one.write("one");
  two.write("two");
  one.commit();
  two.commit();
  EXPECT_EQ(slurp(folder / "a"), "two");
  EXPECT_EQ(folder.listing(), "a");
}

TEST(AtomicFile, permissions_of_the_old_file_stay) {
  TempFolder folder;
  auto path = folder.put("a", "old");
  for (mode_t mode : {0600u, 0666u}) {  // the second is more than the umask leaves
    ::chmod(path.c_str(), mode);
    mode_t old = ::umask(022);
    write_atomically(path, "new");
    ::umask(old);
    struct stat info;
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, mode);
  }
}

TEST(AtomicFile, permissions_of_a_new_file_follow_the_umask) {
  TempFolder folder;
  mode_t old = ::umask(027);
  write_atomically(folder / "a", "x");
  ::umask(old);
  struct stat info;
  ASSERT_EQ(::stat((folder / "a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST(AtomicFile, link_stays_a_link) {
  TempFolder folder;
  folder.put("real/a", "old");
  std::filesystem::create_symlink("real/a", folder / "link");
  write_atomically(folder / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(slurp(folder / "real/a"), "new");
}

TEST(AtomicFile, name_without_a_folder_is_in_the_current_one) {
  TempFolder folder;
  auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  write_atomically("a", "x");
  std::filesystem::current_path(before);
  EXPECT_EQ(folder.listing(), "a");
}

TEST(AtomicFile, devices_and_directories_are_not_replaced) {
  TempFolder folder;
  EXPECT_EQ(message_of<IoError>([] { write_atomically("/dev/full", "x"); }),
            "/dev/full: cannot be used; expected a regular file, found a device");
  EXPECT_EQ(
      message_of<IoError>([&] { write_atomically(folder.path(), "x"); }),
      folder.path().string() + ": cannot be used; expected a regular file, found a directory");
}

TEST(AtomicFile, missing_folder_is_an_error) {
  TempFolder folder;
  auto path = folder / "no/a";
  EXPECT_EQ(message_of<IoError>([&] { write_atomically(path, "x"); }),
            path.string() + ": cannot write in its folder: No such file or directory");
}

// A full disk, as far as one process can have it: no file may grow beyond 4 KiB.
class FileSizeLimit {
 public:
  FileSizeLimit() {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    rlimit small = old_;
    small.rlim_cur = 4096;
    ::setrlimit(RLIMIT_FSIZE, &small);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit old_{};
  void (*handler_)(int);
};

TEST(AtomicFile, full_disk_is_an_error_and_leaves_no_partial_file) {
  TempFolder folder;
  auto path = folder.put("a", "old");
  std::string message;
  {
    FileSizeLimit limit;
    message = message_of<IoError>([&] { write_atomically(path, std::string(10'000, 'x')); });
  }
  EXPECT_EQ(message, path.string() + ": cannot write: File too large");
  EXPECT_EQ(slurp(path), "old");
  EXPECT_EQ(folder.listing(), "a");
}

TEST(AtomicFile, after_an_error_it_refuses_to_go_on) {
  TempFolder folder;
  FileSizeLimit limit;
  AtomicFile file(folder / "a");
  EXPECT_THROW(file.write(std::string(10'000, 'x')), IoError);
  EXPECT_EQ(message_of<IoError>([&] { file.write("y"); }),
            (folder / "a").string() + ": cannot write: already closed");
  EXPECT_THROW(file.commit(), IoError);
  EXPECT_EQ(folder.listing(), "");
}

}  // namespace
}  // namespace mlxcpp::io
