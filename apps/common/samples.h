// Token sequences of equal length from text and JSON Lines files, to evaluate a model on.
// Source: mlx-lm perplexity.py load_data, tuner/datasets.py (0.32.2).  Differs: a file of plain
// text is one sample; a data set that is too small gives what it has.
#pragma once

#include "mlxcpp/text/tokenizer.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

namespace mlxcpp::apps {

/// 0 ... n - 1 in the order of numpy.random.seed(seed); numpy.random.permutation(n).
std::vector<std::size_t> numpy_permutation(std::size_t n, std::uint32_t seed);

struct SampleOptions {
  int sequence_length = 512;  // at least 2
  int num_samples = 256;      // -1: as many as there are
  std::uint32_t seed = 123;
};

/// Samples are tokenised in a random order, strung together and cut.  `path`: a .jsonl file whose
/// lines have "text", "messages" (and "tools"), or "prompt" and "completion"; a folder with a
/// train.jsonl; or any other file of UTF-8 text.  Samples of text end with the tokenizer's end
/// token.  Throws InputError naming file and line.
std::vector<std::vector<text::TokenId>> load_samples(const std::filesystem::path& path,
                                                     const text::Tokenizer& tokenizer,
                                                     const SampleOptions& options);

}  // namespace mlxcpp::apps
