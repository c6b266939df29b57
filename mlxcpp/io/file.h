// Files: bounded reads, read-only maps, and writes that leave the whole new file or the old one.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace mlxcpp::io {

/// The most bytes that a file of each kind may have.  A larger one is refused, never cut.
inline constexpr std::size_t kConfigLimit = std::size_t{1} << 20;
inline constexpr std::size_t kIndexLimit = std::size_t{16} << 20;
inline constexpr std::size_t kTokenizerLimit = std::size_t{64} << 20;  // the largest in use: 33 MB
inline constexpr std::size_t kTokenizerMetadataLimit = std::size_t{4} << 20;

/// The whole of a UTF-8 file.  Only regular files are read, so that a pipe can not make us wait.
/// Throws IoError when it is missing, not a regular file, longer than `limit` or not UTF-8.
std::string read_text(const std::filesystem::path& path, std::size_t limit);

/// Likewise, but nothing when there is no such file (or when it is a link to no file).
std::optional<std::string> read_text_if_exists(const std::filesystem::path& path,
                                               std::size_t limit);

/// Likewise for files that are not text.
std::string read_bytes(const std::filesystem::path& path, std::size_t limit);

/// A regular file mapped into memory, read only.  Pages come from the disk when they are touched.
/// Who hands out views of bytes() keeps the pointer, so that the views outlive the opener.
/// A file that another process shortens meanwhile ends this one (SIGBUS): the price of no copy.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::filesystem::path& path() const { return path_; }

  /// Copies from the file without touching the map.  May be called from several threads.  Throws
  /// IoError, also for a file that has become shorter.
  void read(std::size_t offset, std::span<std::byte> to) const;
  /// Gives back the memory of pages that lie within `part`, a part of bytes().  They are read from
  /// the file again when they are touched.
  void forget(std::span<const std::byte> part) const;

 private:
  MappedFile(std::filesystem::path path, int fd, std::span<const std::byte> bytes);
  std::filesystem::path path_;
  int fd_;
  std::span<const std::byte> bytes_;
};

/// Writes a file beside `path` and renames it into place on commit().  Dropped without commit(),
/// or after an error, it leaves `path` as it was and no other file.
class AtomicFile {
 public:
  /// Throws IoError when the folder can not be written or `path` is something else than a file.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Throws IoError, for example on a full disk; then only destruction is useful.
  void write(std::string_view bytes);
  void write(std::span<const std::byte> bytes);
  /// Syncs, renames, syncs the folder.  The message says so when only the last step failed: the
  /// file is then written, but may be lost with the machine's power.
  void commit();

 private:
  void close_and_remove() noexcept;
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int fd_ = -1;
};

/// AtomicFile in one call.
void write_atomically(const std::filesystem::path& path, std::string_view bytes);

}  // namespace mlxcpp::io
