// What caches of each kind let attention see.
#include "tests/lm/cache_batch.h"

#include <gtest/gtest.h>

namespace mlxcpp::lm {
namespace {

const std::vector<Kind> kKinds = {
    {"plain"},
    {"plain_with_window", 5, {.rotate = false}},
    {"window", 8},
    {"window_of_one", 1},
    {"first_four_and_last_four", 0, {.max_kv_size = 8, .keep = 4}},
    {"first_one_of_seven", 0, {.max_kv_size = 7, .keep = 1}},
    {"last_six", 0, {.max_kv_size = 6, .keep = 0}},
    {"all_kept_but_one", 0, {.max_kv_size = 5, .keep = 4}},
    {"smaller_than_the_window", 12, {.max_kv_size = 6, .keep = 2}},
    {"larger_than_the_window", 4, {.max_kv_size = 9, .keep = 2}},
    {"packed_values", 0, {.quant = {.v_bits = 8, .group_size = 32}}},
    {"packed_values_of_two_bits", 0, {.quant = {.v_bits = 2, .group_size = 64}}},
    {"packed_after_ten", 0, {.quant = {.v_bits = 4, .group_size = 32, .start = 10}}},
    {"rounded", 0, {.quant = {.k_bits = 16, .v_bits = 16}}},
    {"rounded_window", 8, {.quant = {.k_bits = 16, .v_bits = 16}}},
    {"rounded_ring", 0, {.max_kv_size = 7, .keep = 2, .quant = {.k_bits = 16, .v_bits = 16}}},
    {"packed_window", 8, {.quant = {.v_bits = 8, .group_size = 32}}},
    {"packed_ring_after_five",
     0,
     {.max_kv_size = 7, .keep = 2, .quant = {.v_bits = 5, .group_size = 32, .start = 5}}},
};

class CacheKinds : public testing::TestWithParam<Kind> {
 protected:
  std::mt19937 random{7};
};

TEST_P(CacheKinds, shows_a_whole_prompt_what_single_steps_see) {
  Batch b(GetParam(), 1);
  b.add({some(random, 30)});
  for (int i = 0; i < 12; ++i) b.add({some(random, 1)});
}

TEST_P(CacheKinds, keeps_the_right_tokens_over_chunks_of_every_length) {
  for (int chunk = 1; chunk <= 11; ++chunk) {
    Batch b(GetParam(), 1);
    for (int i = 0; i < 4; ++i) b.add({some(random, chunk)});
    b.add({some(random, 1)});
    b.add({some(random, 2)});
  }
}

TEST_P(CacheKinds, gives_ragged_rows_what_each_would_get_alone) {
  Batch b(GetParam(), 3);
  b.add({some(random, 3), some(random, 11), some(random, 6)});
  for (int i = 0; i < 4; ++i) b.add({some(random, 1), some(random, 1), some(random, 1)});
  b.add({some(random, 5), some(random, 2), some(random, 9)});
  for (int i = 0; i < 9; ++i) b.add({some(random, 1), some(random, 1), some(random, 1)});
}

TEST_P(CacheKinds, lets_rows_rest_while_others_go_on) {
  Batch b(GetParam(), 3);
  b.add({some(random, 7), {}, some(random, 2)});
  for (int i = 0; i < 5; ++i) b.add({some(random, 1), {}, some(random, 1)});
  b.add({{}, some(random, 10), {}});
  for (int i = 0; i < 5; ++i) b.add({some(random, 1), some(random, 1), some(random, 1)});
}

TEST_P(CacheKinds, agrees_with_the_lists_whatever_is_done_to_it) {
  for (int round = 0; round < 6; ++round) {
    Batch b(GetParam(), 2);
    std::vector<std::pair<Batch, std::shared_ptr<const Caches::Mark>>> marks;
    for (int i = 0; i < 14; ++i) {
      SCOPED_TRACE("round " + std::to_string(round) + " step " + std::to_string(i));
      int rows = b.caches.rows();
      switch (random() % 7) {
        case 0:
          if (!b.caches.trimmable()) break;
          {
            std::vector<int> n;
            for (auto& r : b.rows) n.push_back(int(random() % (r.size() + 1)));
            b.trim(n);
          }
          break;
        case 1: {
          Batch other = b.fork();
          other.add(std::vector<Tokens>(rows, some(random, 3)));
          break;
        }
        case 2: {
          std::vector<int> which;
          for (int k = 0, n = 1 + int(random() % 3); k < n; ++k)
            which.push_back(int(random() % rows));
          b.keep_rows(which);
          break;
        }
        case 3: {
          if (rows > 3) break;
          Batch late(GetParam(), 1);
          if (random() % 2) late.add({some(random, 1 + int(random() % 12))});
          b.join(late);
          break;
        }
        case 4: {
          auto mark = b.caches.mark();
          auto before = b.rows;
          for (int k = int(random() % 4); k >= 0; --k)
            b.add(std::vector<Tokens>(rows, some(random, 1 + int(random() % 9))));
          b.caches.rollback(*mark);
          b.rows = before;
          break;
        }
        case 5: {
          std::vector<Tokens> steps;
          for (int r = 0; r < rows; ++r) steps.push_back(some(random, 1));
          b.add(steps);
          break;
        }
        default: {
          std::vector<Tokens> chunk;
          for (int r = 0; r < rows; ++r) chunk.push_back(some(random, int(random() % 9)));
          b.add(chunk);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kind, CacheKinds, testing::ValuesIn(kKinds), [](auto& kind) {
  return kind.param.name;
});

}  // namespace
}  // namespace mlxcpp::lm
