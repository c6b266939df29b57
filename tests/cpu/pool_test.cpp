// Threads for one operation: each chunk once, whatever the workers do.
#include "mlxcpp/ops/cpu/pool.h"

#include "mlxcpp/ops/cpu/detail/ahead.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

namespace mlxcpp::cpu {
namespace {

TEST(Pool, runs_each_chunk_once) {
  for (int threads : {1, 2, 3, 8}) {
    Pool pool(threads);
    for (int chunks : {0, 1, 2, 7, 100}) {
      std::vector<std::atomic<int>> seen(chunks);
      pool.run(chunks, [&](int i) { seen[i]++; });
      for (auto& n : seen) EXPECT_EQ(n, 1) << threads << " threads, " << chunks << " chunks";
    }
  }
}

TEST(Pool, sees_what_the_caller_wrote_and_the_caller_what_the_chunks_wrote) {
  Pool pool(2);
  std::vector<int> in(64), out(64);
  for (int job = 0; job < 20000; ++job) {
    std::iota(in.begin(), in.end(), job);
    pool.run(8, [&](int c) {
      for (int i = 8 * c; i < 8 * c + 8; ++i) out[i] = in[i] + 1;
    });
    for (int i = 0; i < 64; ++i) ASSERT_EQ(out[i], job + i + 1);
  }
}

TEST(Pool, ends_while_neighbours_are_busy) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> neighbours;
  for (int i = 0; i < 2; ++i)
    neighbours.emplace_back([&] {
      while (!stop) {
      }
    });
  Pool pool(2);
  std::atomic<long> sum{0};
  for (int job = 0; job < 2000; ++job) pool.run(8, [&](int i) { sum += i; });
  stop = true;
  for (auto& n : neighbours) n.join();
  EXPECT_EQ(sum, 2000 * 28);
}

TEST(Pool, does_not_wait_for_workers_that_sleep) {
  Pool pool(64);  // more than there are cores: most never come
  for (int job = 0; job < 200; ++job) pool.run(2, [](int) {});
}

TEST(Pool, may_be_told_to_fetch_what_is_not_there) {
  Pool pool(3);
  auto* nowhere = reinterpret_cast<const char*>(std::uintptr_t{64});
  Ahead next{{{nowhere, 1 << 20}, {nowhere, 0}}, 2}, nothing;
  std::atomic<long> sum{0};
  for (int job = 0; job < 2000; ++job)
    pool.run(
        8,
        [&](int i) { sum += i; },
        job % 3 == 0   ? &next
        : job % 3 == 1 ? &nothing
                       : nullptr);
  EXPECT_EQ(sum, 2000 * 28);
}

/// Offsets of the lines, from the first piece on as if the others followed it.
std::vector<long> lines_of(const std::vector<long>& sizes, long thread, long threads) {
  static char memory[4][1 << 20];
  Ahead what;
  for (long size : sizes) what.pieces[what.count] = {memory[what.count], size}, ++what.count;
  detail::Fetcher fetcher;
  fetcher.aim(what, thread, threads);
  std::vector<long> lines;
  while (const char* p = fetcher.line()) {
    long before = 0;
    for (int i = 0; i < what.count; before += sizes[std::size_t(i++)])
      if (long at = p - memory[i]; at >= 0 && at < (1 << 20)) {
        EXPECT_LT(at, sizes[std::size_t(i)]);
        lines.push_back(before + at);
      }
  }
  return lines;
}

TEST(Fetcher, goes_through_the_share_of_its_thread) {
  EXPECT_EQ(lines_of({256}, 0, 1), (std::vector<long>{0, 64, 128, 192}));
  EXPECT_EQ(lines_of({256}, 0, 2), (std::vector<long>{0, 64}));
  EXPECT_EQ(lines_of({256}, 1, 2), (std::vector<long>{128, 192}));
  // Over the ends of pieces, of which one is empty: 640 bytes, shares of 320.
  EXPECT_EQ(lines_of({128, 0, 448, 64}, 0, 2), (std::vector<long>{0, 64, 128, 192, 256}));
  EXPECT_EQ(lines_of({128, 0, 448, 64}, 1, 2), (std::vector<long>{320, 384, 448, 512, 576}));
  // Pieces that no line ends with: 300 bytes, shares of 150.
  EXPECT_EQ(lines_of({100, 200}, 0, 2), (std::vector<long>{0, 64, 128}));
  EXPECT_EQ(lines_of({100, 200}, 1, 2), (std::vector<long>{150, 214, 278}));
  EXPECT_TRUE(lines_of({}, 0, 2).empty());
  EXPECT_TRUE(lines_of({0, 0}, 1, 2).empty());
}

TEST(Fetcher, ends_after_a_part_of_a_cache) {
  auto lines = lines_of({1 << 20, 1 << 20}, 1, 2);
  ASSERT_EQ(long(lines.size()), detail::Fetcher::kMost / detail::Fetcher::kLine);
  EXPECT_EQ(lines.front(), 1 << 20);
  EXPECT_EQ(lines.back(), (1 << 20) + detail::Fetcher::kMost - detail::Fetcher::kLine);
}

const char* address(std::uintptr_t i) { return reinterpret_cast<const char*>(i << 20); }
const char* after(detail::Order& order, std::uintptr_t i) {
  const Ahead* next = order.after({{{address(i), 64}}, 1});
  return next ? next->pieces[0].data : nullptr;
}

TEST(Order, knows_what_came_next_the_last_time) {
  detail::Order order;
  EXPECT_FALSE(order.after({}));
  for (std::uintptr_t i = 1; i <= 300; ++i) EXPECT_FALSE(after(order, i));
  for (std::uintptr_t i = 1; i < 300; ++i) EXPECT_EQ(after(order, i), address(i + 1)) << i;
  EXPECT_EQ(after(order, 300), address(1));
  after(order, 200);  // instead of 1
  EXPECT_EQ(after(order, 300), address(200));
}

TEST(Order, knows_the_last_description) {
  detail::Order order;
  Ahead q{{{address(1), 64}}, 1}, qkv{{{address(1), 64}, {address(2), 32}}, 2};
  order.after(q);
  after(order, 3);
  order.after(qkv);
  const Ahead* first = order.after({{{address(3), 64}}, 1});
  ASSERT_TRUE(first);
  EXPECT_EQ(first->count, 2);
}

TEST(Order, forgets_rather_than_grows) {
  detail::Order order;
  for (int round = 0; round < 2; ++round)
    for (std::uintptr_t i = 1; i <= 5000; ++i) after(order, i);
  int right = 0;
  for (std::uintptr_t i = 1; i <= 100; ++i) after(order, i);
  for (std::uintptr_t i = 1; i < 100; ++i) right += after(order, i) == address(i + 1);
  EXPECT_GT(right, 60);
}

TEST(Pool, throws_the_first_exception_and_goes_on) {
  Pool pool(2);
  for (int job = 0; job < 100; ++job) {
    std::atomic<int> ran{0};
    EXPECT_THROW(pool.run(16,
                          [&](int i) {
                            ran++;
                            if (i == 3) throw std::runtime_error("chunk 3");
                          }),
                 std::runtime_error);
    EXPECT_GE(ran, 1);
    ran = 0;
    pool.run(16, [&](int) { ran++; });
    EXPECT_EQ(ran, 16);
  }
}

TEST(Pool, takes_callers_one_after_the_other) {
  Pool pool(2);
  std::atomic<int> inside{0}, most{0}, jobs{0};
  auto call = [&] {
    for (int i = 0; i < 500; ++i)
      pool.run(4, [&](int c) {
        if (c == 0) {
          int now = ++inside;
          if (now > most) most = now;
          jobs++;
          --inside;
        }
      });
  };
  std::thread other(call);
  call();
  other.join();
  EXPECT_EQ(most, 1);
  EXPECT_EQ(jobs, 1000);
}

TEST(ThreadScratch, is_aligned_and_kept) {
  void* a = thread_scratch(1000);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a) % 64, 0u);
  EXPECT_EQ(thread_scratch(500), a);
  EXPECT_NE(thread_scratch(500, 1), a);
}

TEST(Threads, are_at_least_one) { EXPECT_GE(usable_threads(), 1); }

}  // namespace
}  // namespace mlxcpp::cpu
