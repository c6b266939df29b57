// A model that no checkpoint has: everything that the forward contract must carry at once.
#pragma once

#include "mlxcpp/lm/model.h"

#include <memory>

namespace mlxcpp::test {

/// Name-seeded weights.  vocab_size 64, three layers:
/// 0: a convolution with a state, then two attentions side by side, one of them with a window of 6;
/// 1: one attention, whose keys and values the next layer reads too;
/// 2: a convolution with another state, and queries on layer 1's keys.
/// Each adds its part of Input::per_layer, (B, L, 3, 4), looked up from the tokens when absent.
std::unique_ptr<lm::LanguageModel> make_mixed_model();

}  // namespace mlxcpp::test
