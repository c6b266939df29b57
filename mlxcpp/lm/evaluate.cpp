#include "mlxcpp/lm/evaluate.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/detail/option.h"
#include "mlxcpp/ops/choose.h"

#include <mlx/memory.h>
#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <utility>

namespace mlxcpp::lm {
namespace {

using Ids = std::vector<TokenId>;

constexpr int kHeadRows = 256;  // of logits at once: a whole pass of them would be gigabytes

/// Tokens, and from which on they are scored; the first has nothing before it.
struct Row {
  Ids tokens;
  std::size_t first = 1;
};

struct Scored {
  std::vector<float> logprobs;
  bool is_greedy = true;

  LogLikelihood sum() const {
    return {std::accumulate(logprobs.begin(), logprobs.end(), 0.0), is_greedy, logprobs.size()};
  }
};

class Scorer {
 public:
  Scorer(const LanguageModel& model, const EvaluateOptions& options, std::size_t total)
      : model_(model), options_(options), total_(total) {
    if (options.progress) options.progress(0, total);
  }

  /// Rows of different lengths in passes of batch_size, long ones first.
  std::vector<Scored> rows(const std::vector<Row>& all) {
    std::vector<std::size_t> order(all.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(
        order, std::greater{}, [&](std::size_t i) { return all[i].tokens.size(); });
    std::vector<Scored> scored(all.size());
    for (std::size_t from = 0; from < order.size(); from += std::size_t(options_.batch_size)) {
      auto to = std::min(order.size(), from + std::size_t(options_.batch_size));
      Batch batch;
      for (std::size_t i = from; i < to; ++i) batch.push_back({&all[order[i]], &scored[order[i]]});
      Caches caches;
      if (longest(batch) > options_.prefill_step_size)
        caches = model_.make_caches({.rows = int(batch.size())});
      score(batch, caches);
    }
    return scored;
  }

  /// Continuations of one context, which is computed once.
  std::vector<Scored> after(const Ids& context, const std::vector<Ids>& continuations) {
    std::vector<Scored> scored(continuations.size());
    Caches caches = model_.make_caches();
    array last = prefill(context, caches);
    std::vector<Row> rest;
    std::vector<Place> firsts;
    for (std::size_t i = 0; i < continuations.size(); ++i) {
      firsts.push_back({0, continuations[i][0], &scored[i]});
      rest.push_back({continuations[i], 1});
    }
    at_places(last, firsts);
    std::vector<std::size_t> more;
    for (std::size_t i = 0; i < rest.size(); ++i)
      if (rest[i].tokens.size() > 1) more.push_back(i);
    for (std::size_t from = 0; from < more.size(); from += std::size_t(options_.batch_size)) {
      auto to = std::min(more.size(), from + std::size_t(options_.batch_size));
      Batch batch;
      for (std::size_t i = from; i < to; ++i) batch.push_back({&rest[more[i]], &scored[more[i]]});
      Caches copy = caches.fork();
      copy.keep_rows(std::vector<int>(batch.size(), 0));
      score(batch, copy);
    }
    return scored;
  }

 private:
  struct Member {
    const Row* row;
    Scored* scored;
  };
  using Batch = std::vector<Member>;
  /// A row of hidden states, and the token that is to follow it.
  struct Place {
    int row;
    TokenId target;
    Scored* scored;
  };

  static int longest(const Batch& batch) {
    std::size_t n = 0;
    for (auto& m : batch) n = std::max(n, m.row->tokens.size() - 1);
    return int(n);
  }

  /// The hidden state (1, D) of the last token of a context.
  array prefill(const Ids& context, Caches& caches) {
    std::optional<array> h;
    int step = options_.prefill_step_size, size = int(context.size());
    for (int from = 0; from < size; from += step) {
      int n = std::min(step, size - from);
      array ids(context.data() + from, {1, n}, mx::int32);
      h = model_.hidden({.tokens = ids, .needed = {from + n == size ? 1 : 0}}, caches);
      h = mx::slice(*h, {0, n - 1, 0}, h->shape());
      evaluate(*h, caches);
    }
    return mx::flatten(*h, 0, 1);
  }

  static void evaluate(const array& h, const Caches& caches) {
    auto all = caches.arrays();
    all.push_back(h);
    mx::eval(all);
  }

  /// Feeds the rows after what the caches hold, in pieces.
  void score(const Batch& batch, Caches& caches) {
    int rows = int(batch.size()), length = longest(batch);
    for (int from = 0; from < length; from += options_.prefill_step_size) {
      int n = std::min(options_.prefill_step_size, length - from);
      std::vector<int> ids(std::size_t(rows) * n), lengths;
      std::vector<Place> places;
      for (int b = 0; b < rows; ++b) {
        auto& [tokens, first] = *batch[b].row;
        int have = std::clamp(int(tokens.size()) - 1 - from, 0, n);
        lengths.push_back(have);
        for (int p = 0; p < have; ++p) {
          std::size_t next = std::size_t(from) + p + 1;
          ids[std::size_t(b) * n + p] = int(tokens[next - 1]);
          if (next >= first) places.push_back({b * n + p, tokens[next], batch[b].scored});
        }
      }
      Input in{.tokens = array(ids.data(), {rows, n}, mx::int32), .lengths = lengths};
      array h = model_.hidden(in, caches);
      evaluate(h, caches);
      at_places(mx::flatten(h, 0, 1), places);
      mx::clear_cache();
    }
  }

  /// h: (rows, D).
  void at_places(const array& h, const std::vector<Place>& places) {
    for (std::size_t from = 0; from < places.size(); from += kHeadRows) {
      int n = int(std::min<std::size_t>(kHeadRows, places.size() - from));
      std::vector<int> rows, targets;
      for (int i = 0; i < n; ++i) {
        rows.push_back(places[from + i].row);
        targets.push_back(int(places[from + i].target));
      }
      array picked = mx::take(h, array(rows.data(), {n}, mx::int32), 0);
      array logits = mx::squeeze(model_.logits(mx::expand_dims(picked, 0)), 0);
      array logprobs = ops::log_softmax(mx::astype(logits, mx::float32));
      array chosen = mx::take_along_axis(logprobs, array(targets.data(), {n, 1}, mx::int32), 1);
      array best = mx::astype(ops::argmax(logprobs), mx::int32);
      chosen = mx::contiguous(mx::flatten(chosen));
      mx::eval(chosen, best);
      for (int i = 0; i < n; ++i) {
        Scored& to = *places[from + i].scored;
        to.logprobs.push_back(chosen.data<float>()[i]);
        to.is_greedy &= best.data<int>()[i] == targets[std::size_t(i)];
      }
      done_ += std::size_t(n);
      if (options_.progress) options_.progress(done_, total_);
    }
  }

  const LanguageModel& model_;
  const EvaluateOptions& options_;
  std::size_t done_ = 0, total_;
};

/// `where` must be callable only when it is needed: names cost more than checks.
void require_ids(const LanguageModel& model, const Ids& ids, const std::string& where) {
  for (TokenId id : ids)
    if (std::int64_t(id) >= model.vocab_size())
      throw InputError(describe(where,
                                "beyond the vocabulary",
                                "ids below " + std::to_string(model.vocab_size()),
                                std::to_string(id)));
}

std::string numbered(const char* what, std::size_t i) {
  return std::string(what) + " " + std::to_string(i);
}

/// The context of a request as the model sees it.
Ids seen_context(const Continuation& request, std::size_t max_length) {
  const Ids& context = request.context;
  if (max_length == 0) return context;
  std::size_t room = max_length + 1 - request.continuation.size();
  return {context.end() - std::ptrdiff_t(std::min(room, context.size())), context.end()};
}

void check(const LanguageModel& model, const std::vector<Continuation>& requests, int max_length) {
  for (std::size_t i = 0; i < requests.size(); ++i) {
    auto& [context, continuation] = requests[i];
    std::string where = numbered("request", i);
    if (context.empty())
      throw InputError(describe(where + ".context", "empty", "at least one token"));
    if (continuation.empty())
      throw InputError(describe(where + ".continuation", "empty", "at least one token"));
    if (max_length > 0 && continuation.size() > std::size_t(max_length))
      throw InputError(describe(where + ".continuation",
                                "too long",
                                "at most " + std::to_string(max_length) + " tokens (max_length)",
                                std::to_string(continuation.size())));
    require_ids(model, context, where + ".context");
    require_ids(model, continuation, where + ".continuation");
  }
}

/// Windows of a document that stands behind a first token which is not scored.
void add_windows(const Ids& document, std::size_t max_length, std::vector<Row>& rows) {
  std::size_t size = document.size() - 1, done = 0;
  std::size_t most = max_length ? max_length : std::max<std::size_t>(size, 1);
  while (done < size) {
    std::size_t n = std::min(most, size - done);
    done += n;
    std::size_t from = done > most ? done - most : 0;  // as much as fits stands before it
    Ids window(document.begin() + std::ptrdiff_t(from),
               document.begin() + std::ptrdiff_t(done) + 1);
    std::size_t first = window.size() - n;
    rows.push_back({std::move(window), first});
  }
}

std::size_t scored_in(const std::vector<Row>& rows) {
  std::size_t n = 0;
  for (auto& row : rows) n += row.tokens.size() - row.first;
  return n;
}

}  // namespace

void EvaluateOptions::validate() const {
  using detail::require;
  require(batch_size >= 1, "batch_size", "a number of at least 1", batch_size);
  require(max_length >= 0, "max_length", "a number of at least 0", max_length);
  require(prefill_step_size >= 1, "prefill_step_size", "a number of at least 1", prefill_step_size);
}

std::vector<LogLikelihood> loglikelihood(const LanguageModel& model,
                                         const std::vector<Continuation>& requests,
                                         const EvaluateOptions& options) {
  options.validate();
  check(model, requests, options.max_length);
  std::map<Ids, std::vector<std::size_t>> by_context;
  std::size_t total = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    by_context[seen_context(requests[i], std::size_t(options.max_length))].push_back(i);
    total += requests[i].continuation.size();
  }
  Scorer scorer(model, options, total);
  std::vector<LogLikelihood> results(requests.size());
  std::vector<Row> alone;
  std::vector<std::size_t> alone_at;
  for (auto& [context, members] : by_context) {
    std::vector<Ids> continuations;
    for (auto i : members) continuations.push_back(requests[i].continuation);
    if (members.size() == 1) {
      alone.push_back({context, context.size()});
      auto& tokens = alone.back().tokens;
      tokens.insert(tokens.end(), continuations[0].begin(), continuations[0].end());
      alone_at.push_back(members[0]);
      continue;
    }
    auto scored = scorer.after(context, continuations);
    for (std::size_t k = 0; k < members.size(); ++k) results[members[k]] = scored[k].sum();
  }
  auto scored = scorer.rows(alone);
  for (std::size_t k = 0; k < alone.size(); ++k) results[alone_at[k]] = scored[k].sum();
  return results;
}

std::vector<LogLikelihood> loglikelihood_rolling(const LanguageModel& model,
                                                 const std::vector<Ids>& documents,
                                                 std::optional<TokenId> prefix,
                                                 const EvaluateOptions& options) {
  options.validate();
  if (prefix) require_ids(model, {*prefix}, "prefix");
  std::vector<Row> rows;
  std::vector<std::size_t> document_of;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    require_ids(model, documents[i], numbered("document", i));
    Ids whole;
    if (prefix) whole.push_back(*prefix);
    whole.insert(whole.end(), documents[i].begin(), documents[i].end());
    if (!whole.empty()) add_windows(whole, std::size_t(options.max_length), rows);
    document_of.resize(rows.size(), i);
  }
  auto scored = Scorer(model, options, scored_in(rows)).rows(rows);
  std::vector<LogLikelihood> results(documents.size());
  for (std::size_t k = 0; k < rows.size(); ++k) {
    auto part = scored[k].sum();
    auto& to = results[document_of[k]];
    to.logprob += part.logprob;
    to.is_greedy &= part.is_greedy;
    to.tokens += part.tokens;
  }
  return results;
}

Perplexity perplexity(const LanguageModel& model,
                      const std::vector<Ids>& rows,
                      const EvaluateOptions& options) {
  options.validate();
  std::vector<Row> all;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].size() < 2)
      throw InputError(describe(
          numbered("row", i), "too short", "at least 2 tokens", std::to_string(rows[i].size())));
    require_ids(model, rows[i], numbered("row", i));
    all.push_back({rows[i], 1});
  }
  if (all.empty()) throw InputError(describe("rows", "empty", "at least one row"));
  auto scored = Scorer(model, options, scored_in(all)).rows(all);
  Perplexity p;
  double sum = 0, squares = 0;
  for (auto& row : scored)
    for (float logprob : row.logprobs) sum -= logprob, ++p.tokens;
  p.mean_loss = sum / double(p.tokens);
  for (auto& row : scored)
    for (float logprob : row.logprobs) squares += std::pow(-logprob - p.mean_loss, 2);
  p.value = std::exp(p.mean_loss);
  if (p.tokens > 1)
    p.standard_error = p.value * std::sqrt(squares / double(p.tokens - 1) / double(p.tokens));
  return p;
}

}  // namespace mlxcpp::lm
