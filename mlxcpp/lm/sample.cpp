#include "mlxcpp/lm/sample.h"

#include "mlxcpp/base/error.h"

#include <mlx/ops.h>

#include <algorithm>
#include <string>
#include <utility>

namespace mlxcpp::lm {
namespace {

ops::Draw lasting_part(const GenerateOptions& o) {
  const auto& s = o.sample;
  return {.temperature = s.temperature,
          .top_n_sigma = std::max(s.top_n_sigma, 0.0f),
          .typical_p = s.typical_p,
          .top_p = s.top_p > 0 ? s.top_p : 1,
          .min_p = s.min_p,
          .min_keep = s.min_tokens_to_keep,
          .xtc_threshold = s.xtc_threshold,
          .special = s.xtc_special_tokens.empty()
                         ? nullptr
                         : std::make_shared<const std::vector<int>>(s.xtc_special_tokens),
          .top_k = s.top_k,
          .mirostat = s.mirostat == 2,
          .tau = s.mirostat_tau,
          .eta = s.mirostat_eta,
          .logprob = o.logprobs || o.top_logprobs > 0,
          .top_logprobs = o.top_logprobs};
}

void check_shape(const array& logits, std::size_t rows) {
  if (logits.ndim() == 2 && logits.shape(0) == int(rows)) return;
  std::string found;
  for (int n : logits.shape()) found += (found.empty() ? "" : ", ") + std::to_string(n);
  throw InputError(
      describe("logits", "wrong shape", "(" + std::to_string(rows) + ", V)", "(" + found + ")"));
}

}  // namespace

SampleRow::SampleRow(const GenerateOptions& o, std::uint64_t seed, int vocab_size)
    : penalties_(o.penalties, vocab_size), seed_(seed) {
  o.validate(vocab_size);
  draw_ = lasting_part(o);
  xtc_probability_ = o.sample.xtc_probability;
  if (draw_.mirostat) mu_ = array({2 * o.sample.mirostat_tau});
}

bool SampleRow::takes_best() const {
  return draw_.temperature == 0 && !draw_.logprob && penalties_.none();
}

/// What is asked of ops for some rows.
struct Sampling {
  array logits;  // penalised
  std::vector<ops::Draw> draws;
  std::optional<array> mu;

  Sampling(const array& raw, std::span<SampleRow* const> rows) : logits(raw) {
    check_shape(raw, rows.size());
    std::vector<std::vector<ops::Edit>> edits;
    for (auto* row : rows) {
      edits.push_back(row->penalties_.edits(row->drawn_));
      auto& d = draws.emplace_back(row->draw_);
      d.random = random_bits(row->seed_, row->drawn_, Stream::draw);
      float chance = row->xtc_probability_;
      d.xtc = chance > 0 && row->uniform(Stream::xtc) < chance;
    }
    logits = ops::edited(raw, std::move(edits));
    gather_mu(rows);
  }

  void gather_mu(std::span<SampleRow* const> rows) {
    if (std::none_of(rows.begin(), rows.end(), [](auto* r) { return r->mu_; })) return;
    std::vector<array> parts;
    for (auto* row : rows) parts.push_back(row->mu_.value_or(mx::zeros({1})));
    mu = mx::concatenate(std::move(parts));
  }

  static void advance(std::span<SampleRow* const> rows, const ops::Drawn& d) {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      if (rows[r]->mu_) rows[r]->mu_ = mx::slice(*d.mu, {int(r)}, {int(r) + 1});
      ++rows[r]->drawn_;
    }
  }
};

Sampled sample(const array& logits, std::span<SampleRow* const> rows) {
  Sampling s(logits, rows);
  std::vector<int> asked;
  for (auto& d : s.draws) asked.push_back(d.logprob ? d.top_logprobs : -1);
  auto drawn = ops::draw(s.logits, std::move(s.draws), s.mu);
  Sampling::advance(rows, drawn);
  return {.ids = drawn.ids,
          .logprobs = drawn.logprobs,
          .top_ids = drawn.top_ids,
          .top_logprobs = drawn.top_logprobs,
          .mu = drawn.mu,
          .asked = std::move(asked)};
}

Token take_chosen(TokenId token, const array& logits, SampleRow& row) {
  SampleRow* rows[] = {&row};
  Sampling s(logits, rows);
  Token out{.id = token};
  auto& d = s.draws.front();
  if (d.logprob) {
    array at = mx::slice(ops::log_softmax(s.logits), {0, int(token)}, {1, int(token) + 1});
    out.logprob = at.item<float>();
    d.temperature = 0;
    auto best = ops::draw(s.logits, {d}, s.mu);
    Sampled top{best.ids, best.logprobs, best.top_ids, best.top_logprobs, {}, {d.top_logprobs}};
    out.top = top.token(0).top;
  }
  row.count(token);
  return out;
}

array probabilities(const array& logits, std::span<SampleRow* const> rows) {
  Sampling s(logits, rows);
  std::vector<float> temperatures;
  for (auto& d : s.draws) temperatures.push_back(d.temperature > 0 ? d.temperature : 1);
  array t(temperatures.data(), {int(rows.size()), 1});
  array left = ops::filtered(s.logits, std::move(s.draws), s.mu);
  array best = mx::max(left, -1, /*keepdims=*/true);
  return mx::softmax(mx::divide(mx::subtract(left, best), t), -1, /*precise=*/true);
}

std::vector<array> Sampled::arrays() const {
  std::vector<array> all{ids};
  for (auto& a : {logprobs, top_ids, top_logprobs, mu})
    if (a) all.push_back(*a);
  return all;
}

Token Sampled::token(int row) const {
  auto value = [row](array a, auto type, int column = 0) {
    a.eval();
    int width = a.ndim() > 1 ? a.shape(1) : 1;
    return a.data<decltype(type)>()[std::size_t(row) * width + column];
  };
  Token out{.id = value(ids, TokenId())};
  int count = asked[row];
  if (count >= 0) out.logprob = value(*logprobs, float());
  for (int i = 0; i < count; ++i)
    out.top.push_back({value(*top_ids, TokenId(), i), value(*top_logprobs, float(), i)});
  return out;
}

}  // namespace mlxcpp::lm
