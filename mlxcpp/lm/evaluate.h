// Log-likelihoods of tokens that are given: continuations of contexts, whole documents, perplexity.
// Source: mlx-lm evaluate.py and perplexity.py (0.32.2), lm-evaluation-harness api/model.py and
// utils.py.  Differs: docs/deviations.md.
#pragma once

#include "mlxcpp/lm/model.h"
#include "mlxcpp/lm/options.h"

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

namespace mlxcpp::lm {

/// Tokens scored and in all; an exception ends the evaluation.
using EvaluateProgress = std::function<void(std::size_t done, std::size_t total)>;

struct EvaluateOptions {
  int batch_size = 8;            // rows of a pass
  int max_length = 0;            // the most tokens that the model sees before one; 0: no limit
  int prefill_step_size = 2048;  // the most tokens of a row in a pass
  EvaluateProgress progress;

  void validate() const;  ///< throws InputError naming the field
};

struct LogLikelihood {
  double logprob = 0;     // natural logarithm, of all tokens together
  bool is_greedy = true;  // each of them is the most likely one there
  std::size_t tokens = 0;
};

struct Continuation {
  std::vector<TokenId> context;  // not empty: begin-of-sequence, where there is nothing else
  std::vector<TokenId> continuation;
};

/// For each request, that the continuation follows the context.  A context that several requests
/// have is computed once.  With max_length, contexts lose what stands farthest back.  Throws
/// InputError naming the request: an empty part, an id beyond the vocabulary, a continuation longer
/// than max_length.
std::vector<LogLikelihood> loglikelihood(const LanguageModel& model,
                                         const std::vector<Continuation>& requests,
                                         const EvaluateOptions& options = {});

/// Of whole documents, each token once.  One longer than max_length is cut into windows that follow
/// each other, the last of which sees as much as fits.  `prefix` (such as begin-of-sequence) stands
/// before each; without it the first token is not scored.
std::vector<LogLikelihood> loglikelihood_rolling(const LanguageModel& model,
                                                 const std::vector<std::vector<TokenId>>& documents,
                                                 std::optional<TokenId> prefix,
                                                 const EvaluateOptions& options = {});

struct Perplexity {
  double value = 0;                      // exp(mean_loss)
  std::optional<double> standard_error;  // of value; nothing for a single token
  double mean_loss = 0;
  std::size_t tokens = 0;  // scored: all but the first of each row
};

/// Of rows of at least two tokens, each seen by itself.
Perplexity perplexity(const LanguageModel& model,
                      const std::vector<std::vector<TokenId>>& rows,
                      const EvaluateOptions& options = {});

}  // namespace mlxcpp::lm
