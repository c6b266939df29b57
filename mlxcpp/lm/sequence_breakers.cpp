#include "mlxcpp/lm/sequence_breakers.h"

#include "mlxcpp/base/error.h"

#include <algorithm>
#include <set>
#include <string_view>

namespace mlxcpp::lm {
namespace {

using text::TokenId;
constexpr std::size_t kLongest = 40;  // bytes

/// What tokens look like in the middle of a text, where no leading space is dropped.
class Pieces {
 public:
  explicit Pieces(const text::Tokenizer& t) : tokenizer_(t), before_(t.encode("a", false)) {
    prefix_ = t.decode(before_);
    line_ = t.encode("\n", false);
  }
  std::string of(TokenId id) {
    before_.push_back(id);
    std::string all = tokenizer_.decode(before_);
    before_.pop_back();
    return all.starts_with(prefix_) ? all.substr(prefix_.size()) : tokenizer_.decode({{id}});
  }

  /// A text that goes on in the middle of a line: behind a line break nothing is put before it.
  std::vector<TokenId> encode(std::string_view rest) const {
    auto all = tokenizer_.encode("\n" + std::string(rest), false);
    if (all.size() > line_.size() && std::equal(line_.begin(), line_.end(), all.begin()))
      return {all.begin() + std::ptrdiff_t(line_.size()), all.end()};
    return tokenizer_.encode(rest, false);
  }

 private:
  const text::Tokenizer& tokenizer_;
  std::vector<TokenId> before_, line_;
  std::string prefix_;
};

}  // namespace

std::vector<std::string> default_sequence_breakers() { return {"\n", ":", "\"", "*"}; }

void check_sequence_breakers(const std::vector<std::string>& texts) {
  for (auto& t : texts)
    if (t.empty() || t.size() > kLongest)
      throw InputError(describe("dry_sequence_breaker",
                                "bad value",
                                "a text of 1 to " + std::to_string(kLongest) + " bytes",
                                std::to_string(t.size()) + " bytes"));
}

std::vector<std::vector<TokenId>> sequence_breakers(const text::Tokenizer& tokenizer,
                                                    const std::vector<std::string>& texts) {
  check_sequence_breakers(texts);
  std::set<std::vector<TokenId>> found;
  if (texts.empty()) return {};
  Pieces pieces(tokenizer);
  for (TokenId id = 0; id < TokenId(tokenizer.vocab_size()); ++id) {
    std::string piece = pieces.of(id);
    for (std::string_view whole : texts) {
      if (piece.find(whole) != piece.npos) {
        found.insert({id});
        continue;
      }
      for (std::size_t n = 1; n < whole.size() && n <= piece.size(); ++n) {
        if (!piece.ends_with(whole.substr(0, n))) continue;
        std::vector<TokenId> sequence{id};
        auto rest = pieces.encode(whole.substr(n));
        sequence.insert(sequence.end(), rest.begin(), rest.end());
        found.insert(std::move(sequence));
      }
    }
  }
  return {found.begin(), found.end()};
}

}  // namespace mlxcpp::lm
