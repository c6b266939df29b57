// Threads for one operation: each chunk once, whatever the workers do.
#include "mlxcpp/ops/cpu/pool.h"

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
