// Weights in the map of their file, or read from it: the same numbers.
#include "mlxcpp/nn/file_tensors.h"

#include "mlxcpp/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"
#include "tests/support/temp_dir.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <optional>
#include <stdexcept>

namespace mlxcpp::nn {
namespace {

/// A file of float32 numbers 0, 1, 2 ... after `before` bytes.
struct File {
  test::TempDir dir;
  std::size_t before;
  std::shared_ptr<const io::MappedFile> file;

  explicit File(int count, std::size_t before_ = 16) : before(before_) {
    std::string text(before, '#');
    for (int i = 0; i < count; ++i) {
      auto value = float(i);
      text.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    file = io::MappedFile::open(dir.write("numbers", text));
  }
  StoredTensor tensor(int from, mx::Shape shape) const {
    std::size_t bytes = sizeof(float);
    for (int n : shape) bytes *= std::size_t(n);
    return {file->bytes().subspan(before + sizeof(float) * std::size_t(from), bytes),
            std::move(shape),
            mx::float32};
  }
};

class FileTensorsOf : public testing::TestWithParam<Residency> {};
INSTANTIATE_TEST_SUITE_P(,
                         FileTensorsOf,
                         testing::Values(Residency::mapped, Residency::resident),
                         [](const auto& c) {
                           return c.param == Residency::mapped ? "a_map" : "memory";
                         });

TEST_P(FileTensorsOf, have_the_numbers_of_the_file) {
  File f(40);
  FileTensors tensors(GetParam());
  array a = tensors.place(f.file, f.tensor(0, {2, 3})), b = tensors.place(f.file, f.tensor(7, {})),
        c = tensors.place(f.file, f.tensor(0, {4, 0}));
  tensors.read();
  f.file.reset();
  EXPECT_EQ(test::Numbers(a).data, (std::vector<double>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(test::Numbers(b).data, std::vector<double>{7});
  EXPECT_EQ(c.shape(), (mx::Shape{4, 0}));
}

TEST_P(FileTensorsOf, put_alternating_halves_back) {
  File f(24);
  FileTensors tensors(GetParam());
  array a = tensors.place(f.file, f.tensor(0, {12, 2}), RowOrder{6});
  tensors.read();
  const int source[] = {0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11};
  test::Numbers got(a);
  for (int r = 0; r < 12; ++r)
    for (int c = 0; c < 2; ++c) EXPECT_EQ(got(r, c), 2 * source[r] + c) << r;
}

TEST_P(FileTensorsOf, at_odd_addresses_are_usable) {
  File f(9, 3);
  FileTensors tensors(GetParam());
  array a = tensors.place(f.file, f.tensor(1, {8}));
  tensors.read();
  EXPECT_EQ(test::Numbers(a).data, (std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST_P(FileTensorsOf, larger_than_a_piece_are_whole) {
  constexpr int kCount = 5'000'000;  // 20 MB: several pieces
  File f(kCount);
  FileTensors tensors(GetParam());
  array a = tensors.place(f.file, f.tensor(0, {kCount}));
  tensors.read();
  const float* numbers = a.data<float>();
  for (int i = 0; i < kCount; ++i) ASSERT_EQ(numbers[i], float(i));
}

TEST_P(FileTensorsOf, without_a_file_are_copies) {
  std::vector<float> numbers = {1, 2, 3};
  StoredTensor t{std::as_bytes(std::span(numbers)), {3}, mx::float32};
  FileTensors tensors(GetParam());
  array a = tensors.place(nullptr, t);
  numbers.assign(3, 0);
  EXPECT_EQ(test::Numbers(a).data, (std::vector<double>{1, 2, 3}));
}

TEST(FileTensors, of_a_map_are_not_copied) {
  File f(8);
  FileTensors tensors(Residency::mapped);
  array a = tensors.place(f.file, f.tensor(2, {4}));
  EXPECT_EQ(static_cast<const void*>(a.data<float>()), f.file->bytes().data() + 16 + 8);
}

TEST(FileTensors, may_stand_in_a_graph_before_they_are_read) {
  File f(8);
  FileTensors tensors(Residency::resident);
  array sum = mx::add(tensors.place(f.file, f.tensor(2, {4})), array(1.f));
  tensors.read();
  EXPECT_EQ(test::Numbers(sum).data, (std::vector<double>{3, 4, 5, 6}));
}

TEST(FileTensors, that_nobody_holds_are_not_read) {
  File f(8);
  FileTensors tensors(Residency::resident);
  array a = tensors.place(f.file, f.tensor(0, {2}));
  std::optional<array> b = tensors.place(f.file, f.tensor(2, {4}));
  b.reset();
  std::uint64_t bytes = 0;
  tensors.read([&](std::uint64_t, std::uint64_t total) { bytes = total; });
  EXPECT_EQ(bytes, 8u);
  EXPECT_EQ(test::Numbers(a).data, (std::vector<double>{0, 1}));
}

TEST(FileTensors, tell_how_far_they_are_and_can_be_stopped) {
  constexpr int kCount = 40'000'000;  // 160 MB
  File f(16);
  std::filesystem::resize_file(f.file->path(), 16 + sizeof(float) * kCount);  // a hole
  auto file = io::MappedFile::open(f.file->path());
  StoredTensor t{file->bytes().subspan(16), {kCount}, mx::float32};
  FileTensors tensors(Residency::resident);
  array a = tensors.place(file, t);
  int calls = 0;
  auto stop = [&](std::uint64_t done, std::uint64_t total) {
    ++calls;
    EXPECT_GT(done, 0u);
    EXPECT_LT(done, total);
    EXPECT_EQ(total, t.bytes.size());
    throw std::runtime_error("stopped");
  };
  EXPECT_THROW(tensors.read(stop), std::runtime_error);
  EXPECT_EQ(calls, 1);
}

TEST(FileTensors, of_a_file_that_became_shorter_are_an_error) {
  File f(100'000);
  FileTensors tensors(Residency::resident);
  array a = tensors.place(f.file, f.tensor(0, {100'000}));
  std::filesystem::resize_file(f.file->path(), 1000);
  EXPECT_EQ(test::message_of<IoError>([&] { tensors.read(); }),
            f.file->path().string() + ": became shorter; expected 400016 bytes");
}

}  // namespace
}  // namespace mlxcpp::nn
