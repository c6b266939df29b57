// Checking guesses with the model: which are kept, whether guessing pays, and how it went.
// Source: Leviathan et al., "Fast inference from transformers via speculative decoding"; mlx-lm
// generate.py, speculative_generate_step (0.32.2).  Differs: above temperature 0 guesses are kept
// by rejection sampling, so that answers are distributed as without them; recurrent models may
// guess, too; guessing ends where it does not pay.
#pragma once

#include "mlxcpp/lm/draft.h"
#include "mlxcpp/lm/speculation_stats.h"
#include "mlxcpp/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <climits>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace mlxcpp::lm {

class LanguageModel;

/// Numbers in [0, 1), repeatable by seed (splitmix64).
class Uniform {
 public:
  explicit Uniform(std::uint64_t seed) : state_(seed) {}
  double operator()();

 private:
  std::uint64_t state_;
};

/// What sampling draws from, without penalties: logits (R, V) -> probabilities (R, V) float32,
/// after all filters and the temperature.  At temperature 0: one for the most likely token. `seed`:
/// XTC's coin.
array distribution(const array& logits, const SampleOptions& options, std::uint64_t seed);
/// An index of p, drawn by it; p need not add up to one exactly.
TokenId draw(std::span<const float> p, double uniform);

struct Verdict {
  int accepted;  // so many guesses are kept ...
  TokenId next;  // ... and this follows
};
/// Rejection sampling: what it gives is distributed as if each token were drawn from `target`,
/// whatever the guesses are.  target: for each guess, and after the last, V probabilities.
Verdict verify(std::span<const std::vector<float>> target, const Proposal& guess, Uniform& uniform);

/// How long passes of so many tokens take: learned, forgotten where they are rare, and what lies
/// between is interpolated.
class PassTimes {
 public:
  void add(int tokens, double seconds);
  bool known(int tokens) const { return seconds_[std::clamp(tokens, 1, kMost)] > 0; }
  double of(int tokens) const;  ///< 1 while nothing is known

 private:
  static constexpr int kMost = 256;
  std::array<double, kMost + 1> seconds_{};  // 0: not known
  std::array<int, kMost + 1> last_{};        // by count_
  int count_ = 0;
};

/// What a pass has in it: its rows, all as long as the longest, and those of them that guess, each
/// perhaps as well as this one.
struct PassLoad {
  int rows = 1, guessing = 1;
};

/// One row's guessing.
class Speculation {
 public:
  Speculation(std::unique_ptr<Drafter> drafter, int most, bool adaptive);

  void consumed(std::span<const TokenId> ids, const std::optional<array>& hidden) {
    drafter_->consumed(ids, wants_states() ? hidden : std::nullopt);
  }
  /// Whether all states of what is consumed are to be computed.
  bool wants_states() const { return drafter_->wants_states(); }
  /// At most `room` tokens after `next`: as many as are expected to pay, given what passes take
  /// and how often such guesses were right; now and then a few more, to learn whether that changed.
  Proposal propose(TokenId next, int room, const PassTimes& times, const PassLoad& load = {});
  /// How propose()'s guess went.
  void verified(const Proposal& guess, int accepted);
  const SpeculationStats& stats() const { return stats_; }
  std::uint64_t nbytes() const { return drafter_->nbytes(); }
  /// Drafter::most_bytes of a row of so many tokens, and of the guesses after them.
  std::uint64_t most_bytes(int tokens) const {
    return drafter_->most_bytes(std::min(tokens, INT_MAX - most_) + most_);
  }

 private:
  struct Sort {
    double right = 1, tried = 2;  // fading counts of guessed tokens
    int skipped = 0, wait = 16;   // chances left out, and after how many one is taken
  };
  int worthwhile(const Sort& s, int most, const PassTimes& times, const PassLoad& load) const;

  std::unique_ptr<Drafter> drafter_;
  int most_;
  bool adaptive_;
  int sort_ = 0, since_plain_ = 0;  // the sort of the last guess
  std::array<Sort, Drafter::kSorts> sorts_;
  double draft_each_ = 0;  // seconds for a guessed token
  SpeculationStats stats_;
};

/// Throws InputError naming the first token that the two spell differently.
void require_same_vocabulary(const text::Tokenizer& model, const text::Tokenizer& draft);

/// What options ask for; null: nothing.  Throws InputError for a draft model with another
/// vocabulary, UnsupportedError for heads that the model does not have.
std::unique_ptr<Speculation> make_speculation(const LanguageModel& model,
                                              const SpeculationOptions& options,
                                              const DraftSampling& sampling);

}  // namespace mlxcpp::lm
