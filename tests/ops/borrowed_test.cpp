// Arrays over foreign memory.  This leans on how MLX's allocator for CPUs lays out its blocks, so a
// new MLX must pass here.
#include "mlxcpp/ops/borrowed.h"

#include "tests/support/numbers.h"

#include <mlx/memory.h>
#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <vector>

namespace mlxcpp::ops {
namespace {

/// A page that can not be written, with numbers from byte 8 on, between pages that can not be
/// touched.
struct Page {
  std::size_t size = std::size_t(::sysconf(_SC_PAGESIZE));
  std::byte *mapped, *start;
  Page() {
    mapped = static_cast<std::byte*>(
        ::mmap(nullptr, 3 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    start = mapped + size;
    std::vector<float> numbers = {1, -2, 3, 0.5f};
    std::memcpy(start + 8, numbers.data(), 16);
    ::mprotect(start, size, PROT_READ);
    ::mprotect(mapped, size, PROT_NONE);
    ::mprotect(start + size, size, PROT_NONE);
  }
  ~Page() { ::munmap(mapped, 3 * size); }
};

TEST(Borrowed, arrays_stand_where_the_bytes_are) {
  ASSERT_TRUE(can_borrow()) << "the packaged MLX is the one for CPUs";
  auto page = std::make_shared<Page>();
  array a = borrowed(page->start + 8, {2, 2}, mx::float32, page);
  EXPECT_TRUE(a.is_available());
  EXPECT_EQ(static_cast<const void*>(a.data<float>()), page->start + 8);
  EXPECT_EQ(test::Numbers(a).data, (std::vector<double>{1, -2, 3, 0.5}));
}

TEST(Borrowed, memory_is_kept_until_the_last_array_over_it_is_gone) {
  auto page = std::make_shared<Page>();
  std::weak_ptr<Page> alive = page;
  std::optional<array> row;
  {
    auto* at = page->start + 8;
    array a = borrowed(at, {2, 2}, mx::float32, std::move(page));
    row = mx::slice(a, {1, 0}, {2, 2});
    mx::eval(*row);
  }
  EXPECT_EQ(test::Numbers(*row).data, (std::vector<double>{3, 0.5}));
  row.reset();
  EXPECT_TRUE(alive.expired());
}

TEST(Borrowed, memory_is_not_counted_as_allocated) {
  auto page = std::make_shared<Page>();
  auto before = mx::get_active_memory();
  array a = borrowed(page->start + 8, {4}, mx::float32, page);
  EXPECT_EQ(mx::get_active_memory(), before);
}

TEST(Borrowed, memory_is_never_written_by_operations_that_could_work_in_place) {
  auto page = std::make_shared<Page>();
  auto fresh = [&] { return borrowed(page->start + 8, {4}, mx::float32, page); };
  const std::vector<array> results = {
      mx::add(fresh(), array(1.f)),
      mx::exp(fresh()),
      mx::add(fresh(), fresh()),
      mx::slice_update(fresh(), array({7.f}), mx::Shape{0}, mx::Shape{1}),
      mx::sort(fresh()),
      mx::contiguous(fresh()),
      mx::view(fresh(), mx::int32)};
  for (auto& r : results) mx::eval(r);  // would end here: the page can not be written
  EXPECT_EQ(test::Numbers(results[0]).data, (std::vector<double>{2, -1, 4, 1.5}));
  EXPECT_EQ(test::Numbers(results[3]).data, (std::vector<double>{7, -2, 3, 0.5}));
}

TEST(Borrowed, bytes_that_are_not_aligned_are_copied) {
  auto page = std::make_shared<Page>();
  EXPECT_FALSE(aligned(page->start + 9, mx::float32));
  array a = borrowed(page->start + 9, {3}, mx::float32, page);
  EXPECT_TRUE(aligned(reinterpret_cast<const std::byte*>(a.data<float>()), mx::float32));
  EXPECT_EQ(std::memcmp(a.data<float>(), page->start + 9, 12), 0);
  array bytes = borrowed(page->start + 9, {3}, mx::uint8, page);
  EXPECT_EQ(static_cast<const void*>(bytes.data<std::uint8_t>()), page->start + 9);
}

TEST(Borrowed, arrays_may_be_empty) {
  auto page = std::make_shared<Page>();
  array a = borrowed(page->start + 8, {0, 4}, mx::float32, page);
  EXPECT_EQ(a.size(), 0u);
  EXPECT_EQ(mx::sum(a).item<float>(), 0);
}

}  // namespace
}  // namespace mlxcpp::ops
