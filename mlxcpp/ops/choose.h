// What choosing a token needs of rows of scores.  All take (R, V) and treat each row alone: a row
// gets the same, bit for bit, whatever other rows there are and whatever is asked for them.
#pragma once

#include "mlxcpp/ops/cpu/draw.h"
#include "mlxcpp/ops/mx.h"

#include <optional>
#include <vector>

namespace mlxcpp::ops {

using Draw = cpu::Draw;
using Edit = cpu::Edit;

/// (R, V) -> (R,) uint32: where the largest of each row first stands.
array argmax(const array& x);
/// x - log(sum(e^x)), for each row of (R, V).
array log_softmax(const array& x);

struct Drawn {
  array ids;                                   // (R,) uint32, in [0, V) whatever the scores are
  std::optional<array> logprobs;               // (R,), where a row asked
  std::optional<array> top_ids, top_logprobs;  // (R, n), likewise; n: the most that a row asked for
  std::optional<array> mu;                     // (R,), where a row has mirostat
};
/// One token of each row, rows[r] says how.  Computed in float32; log-probabilities are those of x,
/// before filters and temperature.  `mu`: (R,), needed where a row has mirostat.
Drawn draw(const array& x, std::vector<Draw> rows, const std::optional<array>& mu = {});

/// x in float32, with minus infinity for all tokens that draw() can not choose.
array filtered(const array& x, std::vector<Draw> rows, const std::optional<array>& mu = {});

/// x in float32, with single scores changed; of a row's edits each has another id.
array edited(const array& x, std::vector<std::vector<Edit>> rows);

}  // namespace mlxcpp::ops
