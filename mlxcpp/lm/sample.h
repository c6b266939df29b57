// Choosing the next token of each of several rows, each with options of its own, in one go.
// Source: mlx-lm sample_utils.py (0.32.2); llama.cpp's samplers for top_n_sigma, typical_p and
// Mirostat.  Differs: each row tosses XTC's coin, and top_k beyond the vocabulary keeps everything.
//
// The order, written here only: penalties (penalties.h), then log-probabilities are taken, then
// top_n_sigma, typical_p, top_p, min_p, XTC, top_k, temperature, the draw.  Each filter acts on
// what those before it left, untempered; a row always keeps a token.  Mirostat stands in the place
// of all filters, after temperature.  Temperature 0 takes the most likely token, whatever else.
#pragma once

#include "mlxcpp/lm/options.h"
#include "mlxcpp/lm/penalties.h"
#include "mlxcpp/lm/random.h"
#include "mlxcpp/lm/token.h"
#include "mlxcpp/ops/choose.h"
#include "mlxcpp/ops/mx.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace mlxcpp::lm {

/// A row's part in sampling: its options, what was said, how often it drew.  A value: a copy is a
/// fork.  What a row draws depends on its seed, the number of its draws before, its options and its
/// logits, not on other rows.
class SampleRow {
 public:
  /// Of the options: sample, penalties, logprobs, top_logprobs.  Throws InputError as their
  /// validate.
  SampleRow(const GenerateOptions& options, std::uint64_t seed, int vocab_size);

  /// The whole prompt, also the part that is not computed again.
  void begin(std::span<const TokenId> prompt) { penalties_.begin(prompt); }
  /// A token of the answer, before the one after it is sampled.  Not needed unless needs_tokens().
  void push(TokenId token) { penalties_.push(token); }
  /// False: the next token may be sampled before the last one is known on the host.
  bool needs_tokens() const { return penalties_.needs_tokens(); }

  /// Whether sample() takes the largest of the logits as they are, and nothing else is asked for.
  bool takes_best() const;
  bool has_mirostat() const { return draw_.mirostat && draw_.temperature > 0; }
  /// A token that was chosen otherwise, as if sample() had drawn it and push() had been told.  Not
  /// where has_mirostat(), which learns from what it draws.
  void count(TokenId token) { ++drawn_, push(token); }

  /// How many tokens were sampled.
  std::uint64_t drawn() const { return drawn_; }
  /// A number of the next draw's, in [0, 1).
  double uniform(Stream stream) const { return lm::uniform(seed_, drawn_, stream); }

 private:
  friend struct Sampling;
  ops::Draw draw_;  // all but what changes from draw to draw
  float xtc_probability_;
  Penalties penalties_;
  std::uint64_t seed_, drawn_ = 0;
  std::optional<array> mu_;  // (1,), Mirostat's
};

/// What was sampled, one token a row; not computed yet.
struct Sampled {
  array ids;  // (R,) uint32
  std::optional<array> logprobs;
  std::optional<array> top_ids, top_logprobs;
  std::optional<array> mu;
  std::vector<int> asked;  // per row: -1 for no log-probability, else how many of the most likely

  /// All that a step must evaluate.
  std::vector<array> arrays() const;
  /// Reads a row's; computes what is not computed yet.
  Token token(int row) const;
};

/// Samples a token for each row: logits (R, V) of any float dtype, computed in float32.  The rows
/// then have drawn once more.  Without reading anything on the host.  Throws InputError unless
/// there is a row of logits for each.
Sampled sample(const array& logits, std::span<SampleRow* const> rows);

/// Counts a token that was chosen otherwise, and gives it with what its row asks for.  logits (1,
/// V) are those of its place.
Token take_chosen(TokenId token, const array& logits, SampleRow& row);

/// (R, V) float32: the distributions from which sample() would draw; 0 for what it would not.
array probabilities(const array& logits, std::span<SampleRow* const> rows);

}  // namespace mlxcpp::lm
