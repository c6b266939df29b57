// Guessing one token after the other from logits.
#pragma once

#include "mlxcpp/lm/speculative.h"

#include <functional>

namespace mlxcpp::lm::detail {

/// n tokens: the first from `logits` (1, V), each further one from what `next` gives for the one
/// before, as (1, 1) int32.  At temperature 0 nothing is read before the last one is made.
Proposal draw_chain(array logits,
                    int n,
                    const std::function<array(const array& id)>& next,
                    const SampleOptions& sample,
                    Uniform& uniform);

}  // namespace mlxcpp::lm::detail
