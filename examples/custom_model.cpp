// An architecture of one's own beside those of the library: config, weights, forward, registration.
// This one looks the next token up in a table that has a row for each token.
#include <mlx/ops.h>

#include <mlxcpp/builtin/models.h>
#include <mlxcpp/io/checks.h>
#include <mlxcpp/lm/model.h>

#include <iostream>
#include <memory>
#include <vector>

using namespace mlxcpp;

namespace {

struct Config {
  int vocab_size;
  void fields(io::Fields& f) {
    f.need("vocab_size", &vocab_size).ignore("model_type");
    io::require_positive(f.where("vocab_size"), vocab_size);
  }
};

class Bigram final : public lm::LanguageModel {
 public:
  Bigram(const Config& c, nn::Scope w) : table_(w / "table", c.vocab_size, c.vocab_size), c_(c) {}

  array logits(const array& hidden) const override { return hidden; }
  lm::CacheLayout layout() const override { return {{.kv = {}, .states = {}}}; }
  int vocab_size() const override { return c_.vocab_size; }

 private:
  array run(const lm::Input& in, const ops::Pass&) const override { return embed(in, table_); }
  nn::Embedding table_;
  Config c_;
};

std::unique_ptr<lm::LanguageModel> make_bigram(io::Fields fields, nn::WeightMap& weights) {
  return std::make_unique<Bigram>(io::read<Config>(fields), nn::Scope(weights));
}

/// What load() would read from a directory: each token is followed by the next one.
lm::LoadedModel checkpoint(int vocab) {
  std::string json = R"({"model_type": "bigram", "vocab_size": )" + std::to_string(vocab) + "}";
  array table = mx::roll(mx::eye(vocab), 1, 1);
  return {lm::parse_config(json), json, {{"table.weight", table}}, {}};
}

}  // namespace

int main() {
  auto registry = builtin_models();
  registry.add("bigram", [](const lm::LoadedModel& loaded) { return bind(loaded, make_bigram); });

  auto model = registry.create(checkpoint(5));
  auto caches = model->make_caches();
  int token = 2;
  for (int i = 0; i < 6; ++i) {
    std::cout << token << " ";
    lm::Input in{.tokens = array({token}, {1, 1}, mx::int32)};
    token = int(mx::argmax(model->logits(model->hidden(in, caches))).item<uint32_t>());
  }
  std::cout << "\n";
}
