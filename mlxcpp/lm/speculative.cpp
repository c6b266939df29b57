#include "mlxcpp/lm/speculative.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/draft_lookup.h"
#include "mlxcpp/lm/draft_model.h"
#include "mlxcpp/lm/draft_mtp.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/lm/sample.h"
#include "mlxcpp/ops/choose.h"

#include <mlx/ops.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace mlxcpp::lm {
namespace {

constexpr double kForget = 0.97;                // of counts, with each guessed token
constexpr double kFade = 0.99;                  // of counts, with each chance left out
constexpr double kLearn = 0.25;                 // how far one measurement moves an average
constexpr double kFaster = 0.5, kSlower = 0.1;  // the same of a pass's time
constexpr int kRemembered = 256;                // passes for which a time is
constexpr double kPays = 1.02;                  // what guessing must gain at least
constexpr double kPrior = 0.1;  // of a pass's time: a further token, before it was measured
constexpr int kProbe = 2;       // tokens of a guess that is made to learn
constexpr int kShortestWait = 16, kLongestWait = 256;  // chances between two of these
constexpr int kPlain = 100;  // passes after which one without a guess is measured again

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

double Uniform::operator()() {
  std::uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return double((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

array distribution(const array& logits, const SampleOptions& options, std::uint64_t seed) {
  GenerateOptions o;
  o.sample = options;
  std::vector<SampleRow> states;
  for (int r = 0; r < logits.shape(0); ++r)
    states.emplace_back(o, seed + std::uint64_t(r), logits.shape(1));
  std::vector<SampleRow*> rows;
  for (auto& state : states) rows.push_back(&state);
  return probabilities(logits, rows);
}

TokenId draw(std::span<const float> p, double uniform) {
  double total = 0;
  for (float x : p) total += x;
  double left = uniform * total;
  TokenId last = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (p[i] <= 0) continue;
    last = TokenId(i);
    left -= p[i];
    if (left < 0) return last;
  }
  return last;  // rounding
}

Verdict verify(std::span<const std::vector<float>> target,
               const Proposal& guess,
               Uniform& uniform) {
  int n = int(guess.ids.size());
  for (int i = 0; i < n; ++i) {
    const std::vector<float>& p = target[i];
    TokenId id = guess.ids[i];
    bool drawn = !guess.probs.empty();
    double wanted = id < p.size() ? p[id] : 0, offered = drawn ? guess.probs[i][id] : 1;
    if (uniform() * offered < wanted) continue;
    std::vector<float> rest = p;  // what the guesses did not give often enough
    for (std::size_t v = 0; v < rest.size(); ++v) {
      float given = drawn ? guess.probs[i][v] : v == id ? 1.f : 0.f;
      rest[v] = std::max(rest[v] - given, 0.f);
    }
    bool empty = std::ranges::all_of(rest, [](float x) { return x == 0; });
    return {i, draw(empty ? p : rest, uniform())};  // empty: p and the guess differ by rounding
  }
  return {n, draw(target[n], uniform())};
}

void PassTimes::add(int tokens, double seconds) {
  int at = std::clamp(tokens, 1, kMost);
  double& known = seconds_[at];
  // What other programs take is only ever added: short times say more than long ones.
  double how_far = seconds < known ? kFaster : kSlower;
  known = known > 0 ? known + how_far * (std::min(seconds, 2 * known) - known) : seconds;
  last_[at] = ++count_;
  for (int i = 1; i <= kMost; ++i)  // so that what was slow once is tried again
    if (count_ - last_[i] > kRemembered) seconds_[i] = 0;
}

double PassTimes::of(int tokens) const {
  tokens = std::clamp(tokens, 1, kMost);
  int below = tokens, above = tokens;
  while (below > 0 && seconds_[below] == 0) --below;
  while (above <= kMost && seconds_[above] == 0) ++above;
  bool over = above <= kMost;
  if (below == 0) return over ? seconds_[above] : 1;
  double from = seconds_[below];
  double guess = from * (1 + kPrior * (tokens - below));
  if (!over || above == below) return guess;
  return from + (seconds_[above] - from) * (tokens - below) / (above - below);
}

Speculation::Speculation(std::unique_ptr<Drafter> drafter, int most, bool adaptive)
    : drafter_(std::move(drafter)), most_(most), adaptive_(adaptive) {}

int Speculation::worthwhile(const Sort& s,
                            int most,
                            const PassTimes& times,
                            const PassLoad& load) const {
  double likely = s.right / s.tried, all = 1, each = 1;
  double best_rate = load.rows / times.of(load.rows) * kPays;
  int best = 0;
  for (int n = 1; n <= most; ++n) {
    all *= likely;
    each += all;
    double gain = load.rows - load.guessing + load.guessing * each;
    double rate = gain / (times.of(load.rows * (1 + n)) + load.guessing * n * draft_each_);
    if (rate > best_rate) best_rate = rate, best = n;
  }
  return best;
}

Proposal Speculation::propose(TokenId next,
                              int room,
                              const PassTimes& times,
                              const PassLoad& load) {
  int most = std::min(most_, room);
  if (most < 1) return {};
  auto start = std::chrono::steady_clock::now();
  auto sort = drafter_->sort_of(next);
  if (!sort) return {};
  sort_ = *sort;
  Sort& s = sorts_[sort_];
  if (adaptive_ && (!times.known(load.rows) || ++since_plain_ > kPlain)) {
    since_plain_ = 0;
    return {};
  }
  int n = adaptive_ ? worthwhile(s, most, times, load) : most;
  if (n > 0) {
    s.wait = kShortestWait;
  } else {  // what was learned fades, so that a later guess that is right counts
    s.right *= kFade, s.tried *= kFade;
    if (++s.skipped < s.wait) return {};
    n = std::min(kProbe, most);
    s.wait = std::min(2 * s.wait, kLongestWait);
  }
  s.skipped = 0;
  Proposal guess = drafter_->propose(next, n);
  if (guess.ids.empty()) return guess;
  double each = seconds_since(start) / double(guess.ids.size());
  draft_each_ = draft_each_ > 0 ? draft_each_ + kLearn * (each - draft_each_) : each;
  stats_.draft_seconds += each * double(guess.ids.size());
  return guess;
}

void Speculation::verified(const Proposal& guess, int accepted) {
  int n = int(guess.ids.size());
  if (n == 0) return;
  Sort& s = sorts_[sort_];
  for (int i = 0; i < std::min(accepted + 1, n); ++i) {  // those after a wrong one were not tried
    s.right = s.right * kForget + (i < accepted ? 1 : 0);
    s.tried = s.tried * kForget + 1;
  }
  ++stats_.passes;
  stats_.proposed += n;
  stats_.accepted += accepted;
}

void require_same_vocabulary(const text::Tokenizer& model, const text::Tokenizer& draft) {
  constexpr const char* kWrong = "another vocabulary than the model's";
  if (model.vocab_size() != draft.vocab_size())
    throw InputError(describe("draft-model",
                              kWrong,
                              std::to_string(model.vocab_size()) + " tokens",
                              std::to_string(draft.vocab_size())));
  for (std::size_t i = 0; i < model.vocab_size(); ++i) {
    auto want = model.token(TokenId(i)), found = draft.token(TokenId(i));
    if (want != found)
      throw InputError(describe("draft-model",
                                kWrong,
                                "'" + want.value_or("") + "' as token " + std::to_string(i),
                                "'" + found.value_or("") + "'"));
  }
}

std::unique_ptr<Speculation> make_speculation(const LanguageModel& model,
                                              const SpeculationOptions& o,
                                              const DraftSampling& sampling) {
  std::unique_ptr<Drafter> drafter;
  int most = 3;
  switch (o.kind) {
    case DraftKind::none: return nullptr;
    case DraftKind::lookup:
      drafter = std::make_unique<PromptLookup>();
      most = 10;
      break;
    case DraftKind::model: {
      if (!o.draft) throw InputError(describe("draft", "missing", "a draft model"));
      if (o.draft->vocab_size() != model.vocab_size())
        throw InputError(describe("draft",
                                  "another vocabulary than the model's",
                                  std::to_string(model.vocab_size()) + " tokens",
                                  std::to_string(o.draft->vocab_size())));
      drafter = std::make_unique<ModelDraft>(o.draft, sampling);
      break;
    }
    case DraftKind::mtp:
      if (!model.mtp())
        throw UnsupportedError(
            describe("mtp", "the model has no head for further tokens, or it was not loaded"));
      drafter = std::make_unique<MtpDraft>(model.mtp(), sampling);
      break;
  }
  return std::make_unique<Speculation>(
      std::move(drafter), o.num_draft_tokens.value_or(most), o.adaptive);
}

}  // namespace mlxcpp::lm
