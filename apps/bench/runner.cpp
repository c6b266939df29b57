#include "apps/bench/runner.h"

#include "apps/common/interrupt.h"

#include <mlx/memory.h>
#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace mlxcpp::apps::bench {

Runner::Runner(std::shared_ptr<const lm::LanguageModel> model, int chunk)
    : model_(std::move(model)), chunk_(chunk), row_(model_->make_caches()) {}

array Runner::next_ids(int rows, int tokens) {
  std::vector<int> ids(std::size_t(rows) * std::size_t(tokens));
  for (int& id : ids) {
    state_ = state_ * 1664525u + 1013904223u;
    id = int((state_ >> 8) % unsigned(model_->vocab_size()));
  }
  return array(ids.data(), {rows, tokens}, mx::int32);
}

/// As a generation does it: all passes fill the caches, the last one gives logits of its last
/// token.
void Runner::feed(lm::Caches& caches, int tokens, bool want_logits, const Progress& progress) {
  for (int done = 0; done < tokens;) {
    throw_if_interrupted();
    if (progress) progress(done, tokens);
    int n = std::min(chunk_, tokens - done);
    done += n;
    bool logits = want_logits && done == tokens;
    array h = model_->hidden({.tokens = next_ids(1, n), .needed = {logits ? 1 : 0}}, caches);
    auto wanted = caches.arrays();
    if (logits) wanted.push_back(model_->logits(mx::slice(h, {0, n - 1, 0}, h.shape())));
    mx::eval(wanted);
    mx::clear_cache();
  }
}

void Runner::decode(lm::Caches& caches, int rows, int tokens, const Progress& progress) {
  for (int i = 0; i < tokens; ++i) {
    throw_if_interrupted();
    if (progress) progress(i, tokens);
    array h = model_->hidden({.tokens = next_ids(rows, 1)}, caches);
    auto wanted = caches.arrays();
    wanted.push_back(model_->logits(h));
    mx::eval(wanted);
  }
}

void Runner::prepare(const Case& c, const Progress& progress) {
  int held = row_.consumed().at(0);
  if (held < c.depth) {
    rows_.reset();
    feed(row_, c.depth - held, false, progress);
  }
  if (c.batch == 1) {
    rows_.reset();
  } else if (!rows_ || rows_->rows() != c.batch) {
    rows_ = std::make_unique<lm::Caches>(row_.fork());
    rows_->keep_rows(std::vector<int>(std::size_t(c.batch), 0));
    mx::eval(rows_->arrays());
  }
}

double Runner::run(const Case& c, int tokens, const Progress& progress) {
  lm::Caches& caches = rows_ ? *rows_ : row_;
  auto before = caches.mark();
  auto start = std::chrono::steady_clock::now();
  if (c.prefill)
    feed(caches, tokens, true, progress);
  else
    decode(caches, c.batch, tokens, progress);
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  caches.rollback(*before);
  return took.count();
}

}  // namespace mlxcpp::apps::bench
