// Choosing the next token: pure functions on log-probabilities, and the chain that options ask for.
// Source: mlx-lm sample_utils.py (0.32.2).  Differs: a key is passed instead of a global random
// state, each row draws its own XTC gate, and top_k beyond the vocabulary keeps everything.
#pragma once

#include "mlxcpp/lm/options.h"
#include "mlxcpp/ops/mx.h"

#include <functional>
#include <vector>

namespace mlxcpp::lm {

// The filters set what they remove to -inf.  All take (R, V), treat each row alone and keep shape
// and dtype.  A row always keeps a token.

/// Exactly the k most likely; which of several equal ones at the border stay is not defined.
/// k >= V keeps all.  Throws InputError if k < 1.
array apply_top_k(const array& logprobs, int k);

/// The fewest most likely tokens whose mass reaches p, and all that are equal to the last of them:
/// a token stays while the mass of those before it is below p.  Needs log-probabilities, or at
/// least values whose exponentials are finite.  Throws InputError unless 0 < p <= 1.
array apply_top_p(const array& logprobs, float p);

/// Tokens at least min_p times as likely as the most likely one; the `keep` most likely stay
/// anyway. Throws InputError unless 0 <= min_p <= 1 and keep >= 1.
array apply_min_p(const array& logprobs, float min_p, int keep = 1);

/// With this probability, removes the tokens more likely than `threshold` except the least likely
/// of them; ids in `special` stay (ids beyond V mean nothing).  Probabilities are those of what
/// earlier filters left.  Throws InputError for values outside [0, 1] and [0, 0.5].
array apply_xtc(const array& logprobs,
                float probability,
                float threshold,
                const std::vector<int>& special,
                const array& key);

/// Draws from softmax(logprobs / temperature), computed in float32: (R, V) -> (R,) uint32.
/// A constant added to a row changes nothing.  Throws InputError unless temperature is finite and >
/// 0.
array categorical(const array& logprobs, float temperature, const array& key);

/// (R, V) log-probabilities, a PRNG key -> (R,) uint32 ids.
using Sampler = std::function<array(const array& logprobs, const array& key)>;

/// mlx-lm's order: top_p, min_p, xtc, top_k, temperature.  The key is split alike whatever is on,
/// so a seed's draws do not depend on the filters.  Throws as `SampleOptions::validate`.
Sampler make_sampler(const SampleOptions& options);

/// False if the sampler may be given raw logits, which saves the log-softmax: only top_p minds.
bool needs_logprobs(const SampleOptions& options);

}  // namespace mlxcpp::lm
