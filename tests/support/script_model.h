// A model that says what it is told: after n tokens the next one is script[n - 1].
#pragma once

#include "mlxcpp/lm/model.h"

#include <mlx/ops.h>

#include <stdexcept>
#include <utility>
#include <vector>

namespace mlxcpp::test {

class ScriptModel final : public lm::LanguageModel {
 public:
  ScriptModel(std::vector<int> script, int vocab) : script_(std::move(script)), vocab_(vocab) {}

  array logits(const array& h) const override { return h; }
  lm::CacheLayout layout() const override { return {{.kv = {}, .states = {}}}; }
  int vocab_size() const override { return vocab_; }

  mutable int passes = 0;
  mutable int fail_at_pass = -1;  // throws there
  mutable std::vector<int> pass_lengths;
  mutable std::vector<std::vector<int>> needed;  // of each pass, as its input has it

 private:
  array run(const lm::Input& in, const ops::Pass& pass) const override {
    pass_lengths.push_back(in.tokens.shape(1));
    needed.push_back(in.needed);
    if (passes++ == fail_at_pass) throw std::runtime_error("planted");
    array script(script_.data(), {int(script_.size())}, mx::int32);
    array next = mx::take(script, mx::minimum(pass.rows->index, array(int(script_.size()) - 1)));
    array here = mx::equal(mx::expand_dims(next, -1), mx::arange(0, vocab_, mx::int32));
    return mx::multiply(mx::astype(here, mx::float32), array(50.f));  // (B, L, V)
  }

  std::vector<int> script_;
  int vocab_;
};

}  // namespace mlxcpp::test
