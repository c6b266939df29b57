// NumPy's .npy files, and .npz archives of them.
// Source: numpy/lib/format.py (the format), mlxrs 0.1.0 io/npy.rs (what is refused).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::io {

/// A parsed header: what the data behind it mean.
struct Npy {
  std::string_view dtype;  // "bool", "uint8", "int8" ... "int64", "float16", "float32", "bfloat16"
  std::uint64_t item_size;
  bool big_endian;     // each item's bytes stand in the other order
  bool fortran_order;  // the first extent runs fastest
  std::vector<std::int64_t> shape;
  std::uint64_t data_begin;  // within the file
  std::uint64_t data_bytes;  // what shape and item_size make

  /// Versions 1.0, 2.0, 3.0; exactly the keys descr, fortran_order, shape, each once.  `file_bytes`
  /// is the length of the whole: it must hold the header and the data, and nothing more.
  /// Throws WeightError; `label` opens messages.
  static Npy parse(std::span<const std::byte> start,
                   std::uint64_t file_bytes,
                   const std::string& label);
};

/// The longest header that is read; NumPy's own default bound is 10,000.
inline constexpr std::uint64_t kNpyHeaderLimit = 64 << 10;
inline constexpr std::uint64_t kNpyHeaderStart = 12;  // bytes before it, at most

/// An archive of .npy members, stored or deflated.
class Npz {
 public:
  struct Member {
    std::string name;     // without ".npy"
    std::uint64_t bytes;  // of the .npy file, unpacked
    std::uint64_t index;
  };

  /// Throws WeightError for an archive that is damaged, encrypted, names a member twice or holds
  /// something else than .npy; IoError when it can not be read.
  static Npz open(const std::filesystem::path& path);
  Npz(Npz&&) noexcept;
  Npz& operator=(Npz&&) noexcept;
  ~Npz();

  const std::vector<Member>& members() const { return members_; }
  struct File {
    Npy header;
    std::vector<std::byte> bytes;  // all of the .npy file
  };
  /// Throws WeightError when it is damaged.  The whole is allocated only after its header agrees
  /// with the archive's directory on the size, which open() checked against the packed bytes.
  File read(const Member& member) const;
  /// "model.npz: layers.0.weight".
  std::string label(const Member& member) const;

 private:
  struct Archive;
  explicit Npz(std::unique_ptr<Archive> archive);
  std::unique_ptr<Archive> archive_;
  std::vector<Member> members_;
};

}  // namespace mlxcpp::io
