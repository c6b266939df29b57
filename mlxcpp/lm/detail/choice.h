// Choosing the next tokens of several rows, each by its own options and seed.
#pragma once

#include "mlxcpp/lm/options.h"
#include "mlxcpp/lm/processors.h"
#include "mlxcpp/lm/sample.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace mlxcpp::lm::detail {

/// What chooses the tokens of one row.
struct Chooser {
  Chooser(const GenerateOptions& options, std::uint64_t seed);

  Sampler sampler;
  std::vector<Processor> processors;
  bool normalise, logprobs;
  bool plain;  // the largest logit, and nothing else is asked
  array key;
};

struct ChooserRow {
  Chooser* chooser;
  std::span<const TokenId> history;  // prompt and answer
};

/// Not evaluated.
struct Chosen {
  array ids;                                   // (R,) uint32
  std::vector<std::optional<array>> logprobs;  // for each row, where asked
};

/// logits (R, V) float32.  Each row's key moves on by one step, whatever the others do.
Chosen choose(std::span<const ChooserRow> rows, const array& logits);

}  // namespace mlxcpp::lm::detail
