// A draft that knows the answer, and says something else now and then.
#pragma once

#include "mlxcpp/lm/draft.h"
#include "mlxcpp/lm/speculative.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace mlxcpp::test {

class Liar final : public lm::Drafter {
 public:
  /// `before`: tokens of the prompt.
  Liar(std::vector<lm::TokenId> answer, std::size_t before, int vocab, std::uint64_t seed)
      : answer_(std::move(answer)),
        at_(-std::ptrdiff_t(before)),
        vocab_(lm::TokenId(vocab)),
        uniform_(seed) {}
  void consumed(std::span<const lm::TokenId> ids, const std::optional<array>&) override {
    at_ += std::ptrdiff_t(ids.size());
  }
  std::optional<int> sort_of(lm::TokenId) override { return 0; }
  lm::Proposal propose(lm::TokenId next, int n) override {
    lm::Proposal p;
    auto size = std::ptrdiff_t(answer_.size());
    EXPECT_TRUE(at_ >= 0 && at_ < size && answer_[std::size_t(at_)] == next) << "at " << at_;
    for (auto i = std::max<std::ptrdiff_t>(at_ + 1, 0); i <= at_ + n && i < size; ++i) {
      auto right = answer_[std::size_t(i)];
      p.ids.push_back(uniform_() < kWrong ? (right + 1) % vocab_ : right);
    }
    return p;
  }

 private:
  static constexpr double kWrong = 0.25;
  std::vector<lm::TokenId> answer_;
  std::ptrdiff_t at_;
  lm::TokenId vocab_;
  lm::Uniform uniform_;
};

}  // namespace mlxcpp::test
