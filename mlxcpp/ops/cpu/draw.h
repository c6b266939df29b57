// Choosing the next token of rows of scores: edits of single scores, filters, the draw.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace mlxcpp::cpu {

/// A change to one token's score x: first x + bias, then times or over the factor (whichever makes
/// a token with a factor above 1 less likely), then less `subtract`.
struct Edit {
  unsigned id = 0;
  float bias = 0, factor = 1, subtract = 0;
};

/// How a row's next token is chosen.  The filters act in the order in which they stand here, each
/// on what the ones before left; temperature comes after them.  The defaults take the most likely.
struct Draw {
  float temperature = 0;  // 0: the most likely, and nothing else matters
  /// No less than the best score less so many standard deviations of all that are finite; 0: off.
  float top_n_sigma = 0;
  /// Those whose surprise is nearest to the expected one, as few as have more mass than this, and
  /// all that are equally near; 1: off.
  float typical_p = 1;
  /// The fewest largest that reach this mass, and all equal to the last of them; 1: off.
  float top_p = 1;
  /// At least this share of the most likely one's probability, and the min_keep largest; 0: off.
  float min_p = 0;
  int min_keep = 1;
  /// XTC: all above the threshold go but the least likely of them (and its equals) and `special`.
  bool xtc = false;
  float xtc_threshold = 0;
  std::shared_ptr<const std::vector<int>> special;
  int top_k = 0;  // exactly so many, of equal ones the first; 0: off
  /// Mirostat 2 in the filters' place, after temperature: no token with a surprise above mu bits;
  /// then mu -= eta * (surprise of the chosen one - tau).
  bool mirostat = false;
  float tau = 0, eta = 0;

  std::uint64_t random = 0;  // bits that decide the draw

  bool logprob = false;  // of the chosen token
  int top_logprobs = 0;  // of so many most likely ones
};

/// Where results of rows go.  Log-probabilities are those of the scores as they came; rows that
/// asked for fewer than `top` get minus infinity for the others.
struct DrawnRows {
  unsigned* ids;                  // (rows)
  float* logprobs = nullptr;      // (rows); null: nobody asked
  float* mu = nullptr;            // (rows); may be the old one
  unsigned* top_ids = nullptr;    // (rows, top), the most likely first
  float* top_logprobs = nullptr;  // likewise
  int top = 0;
};

/// x: (rows, size); mu: (rows), null when no row has mirostat.  A row without a finite largest
/// score gives its largest, or 0.
void draw(
    const float* x, int rows, int size, const Draw* how, const float* mu, const DrawnRows& out);

/// y = x, or minus infinity for tokens that draw() can not choose.
void filter(const float* x, int rows, int size, const Draw* how, const float* mu, float* y);

/// Applies edits to a row, one after the other; ids from `size` on mean nothing.
void edit(float* x, int size, const std::vector<Edit>& edits);

}  // namespace mlxcpp::cpu
