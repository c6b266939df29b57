#include "mlxcpp/nn/safetensors_file.h"

#include "mlxcpp/io/file.h"

#include <mlx/io.h>

#include <memory>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace mlxcpp::nn {
namespace {

/// MLX's writer interface over a file that appears only when it is whole.
class AtomicWriter final : public mx::io::Writer {
 public:
  explicit AtomicWriter(const std::filesystem::path& path) : file_(path), label_(path.string()) {}

  bool is_open() const override { return true; }
  bool good() const override { return true; }
  std::size_t tell() override { return written_; }
  void seek(std::int64_t, std::ios_base::seekdir) override {
    throw std::logic_error("safetensors files are written front to back");
  }
  void write(const char* data, std::size_t n) override {
    file_.write(std::string_view(data, n));
    written_ += n;
  }
  std::string label() const override { return label_; }

  void commit() { file_.commit(); }

 private:
  io::AtomicFile file_;
  std::string label_;
  std::size_t written_ = 0;
};

}  // namespace

void write_safetensors(const std::filesystem::path& path,
                       const std::unordered_map<std::string, array>& arrays,
                       const std::unordered_map<std::string, std::string>& metadata) {
  auto writer = std::make_shared<AtomicWriter>(path);
  mx::save_safetensors(writer, arrays, metadata);
  writer->commit();
}

}  // namespace mlxcpp::nn
