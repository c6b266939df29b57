#include "tests/lm/mixed_model.h"

#include "mlxcpp/ops/recurrent.h"
#include "tests/support/golden.h"

#include <mlx/ops.h>

#include <utility>

namespace mlxcpp::test {
namespace {

constexpr int kDim = 16, kVocab = 64, kLayers = 3, kExtra = 4;
constexpr float kEps = 1e-5f;

struct Conv {
  ops::Param weight;
  int taps;
  Conv(nn::Scope w, int k) : weight(w.take("weight", {kDim, k, 1})), taps(k) {}
  mx::Shape state() const { return {taps - 1, kDim}; }
  array operator()(const array& x, const ops::Layer& layer) const {
    return ops::causal_conv(x, weight, {}, layer);
  }
};

/// Queries and an output; who gives the keys is another's choice.
struct Queries {
  nn::Linear q, o;
  int head_dim;
  ops::Rope rope;
  ops::AttentionArgs args;

  Queries(nn::Scope w, int heads, int d, int window)
      : q(w / "q_proj", kDim, heads * d),
        o(w / "o_proj", heads * d, kDim),
        head_dim(d),
        rope({.dims = 4}),
        args({.scale = 0.5f, .window = window}) {}
  array operator()(const array& x, const ops::KvView& kv, const ops::Layer& layer) const {
    array heads = ops::rope(ops::split_heads(q(x), head_dim), rope, layer);
    return o(ops::merge_heads(ops::attention(heads, kv, args)));
  }
};

struct Keys {
  nn::Linear k, v;
  ops::KvLayout layout;
  int slot;

  Keys(nn::Scope w, const ops::KvLayout& l, int s)
      : k(w / "k_proj", kDim, l.heads * l.k_dim),
        v(w / "v_proj", kDim, l.heads * l.v_dim),
        layout(l),
        slot(s) {}
  ops::KvView operator()(const array& x, const ops::Rope& rope, const ops::Layer& layer) const {
    return ops::kv_append(layer,
                          ops::rope(ops::split_heads(k(x), layout.k_dim), rope, layer),
                          ops::split_heads(v(x), layout.v_dim),
                          slot);
  }
};

class Mixed final : public lm::LanguageModel {
 public:
  explicit Mixed(nn::Scope w)
      : embed_(w / "embed", kVocab, kDim),
        extra_(w / "extra", kVocab, kLayers * kExtra),
        norm_(nn::build(kLayers, [&](int i) { return nn::RmsNorm(w / i / "norm", kDim, kEps); })),
        add_(nn::build(kLayers,
                       [&](int i) { return nn::Linear(w / i / "add_proj", kExtra, kDim); })),
        conv0_(w / 0 / "conv", 4),
        conv2_(w / 2 / "conv", 2),
        near_(w / 0 / "near", 4, 4, 6),
        far_(w / 0 / "far", 2, 8, 0),
        own_(w / 1 / "self", 4, 4, 0),
        shared_(w / 2 / "self", 8, 4, 0),
        near_keys_(w / 0 / "near", {.heads = 2, .k_dim = 4, .v_dim = 4, .window = 6}, 0),
        far_keys_(w / 0 / "far", {.heads = 1, .k_dim = 8, .v_dim = 8}, 1),
        own_keys_(w / 1 / "self", {.heads = 2, .k_dim = 4, .v_dim = 4}, 0),
        last_(w / "norm", kDim, kEps) {}

  array logits(const array& h) const override { return ops::linear(h, embed_.w); }
  lm::CacheLayout layout() const override {
    return {{.kv = {near_keys_.layout, far_keys_.layout}, .states = {conv0_.state()}},
            {.kv = {own_keys_.layout}, .states = {}},
            {.kv = {}, .states = {conv2_.state()}}};
  }
  int vocab_size() const override { return kVocab; }

 private:
  array run(const lm::Input& in, const ops::Pass& pass) const override {
    array extra =
        in.per_layer ? *in.per_layer : mx::unflatten(extra_(in.tokens), -1, {kLayers, kExtra});
    auto added = [&](const array& h, int i) { return ops::add(h, add_[i](mx::take(extra, i, 2))); };
    auto &first = pass.layers[0], &second = pass.layers[1], &third = pass.layers[2];
    array h = lm::embed(in, embed_);
    h = ops::add(h, conv0_(norm_[0](h), first));
    array x = norm_[0](h);
    array near = near_(x, near_keys_(x, near_.rope, first), first);
    h = added(ops::add(h, ops::add(near, far_(x, far_keys_(x, far_.rope, first), first))), 0);
    x = norm_[1](h);
    ops::KvView view = own_keys_(x, own_.rope, second);
    h = added(ops::add(h, own_(x, view, second)), 1);
    h = ops::add(h, conv2_(norm_[2](h), third));
    h = added(ops::add(h, shared_(norm_[2](h), view, third)), 2);
    return last_(h);
  }

  nn::Embedding embed_, extra_;
  std::vector<nn::RmsNorm> norm_;
  std::vector<nn::Linear> add_;
  Conv conv0_, conv2_;
  Queries near_, far_, own_, shared_;
  Keys near_keys_, far_keys_, own_keys_;
  nn::RmsNorm last_;
};

std::map<std::string, array> mixed_weights() {
  std::map<std::string, array> weights;
  auto put = [&](const std::string& name, mx::Shape shape) {
    weights.emplace(name + ".weight", seeded_tensor(name + ".weight", shape));
  };
  put("embed", {kVocab, kDim});
  put("extra", {kVocab, kLayers * kExtra});
  put("norm", {kDim});
  for (auto layer : {"0", "1", "2"}) {
    put(std::string(layer) + ".norm", {kDim});
    put(std::string(layer) + ".add_proj", {kDim, kExtra});
  }
  put("0.conv", {kDim, 4, 1});
  put("2.conv", {kDim, 2, 1});
  auto attention = [&](const std::string& at, int heads, int kv_heads, int d) {
    put(at + ".q_proj", {heads * d, kDim});
    put(at + ".o_proj", {kDim, heads * d});
    if (!kv_heads) return;
    put(at + ".k_proj", {kv_heads * d, kDim});
    put(at + ".v_proj", {kv_heads * d, kDim});
  };
  attention("0.near", 4, 2, 4);
  attention("0.far", 2, 1, 8);
  attention("1.self", 4, 2, 4);
  attention("2.self", 8, 0, 4);
  return weights;
}

std::unique_ptr<lm::LanguageModel> make_mixed(io::Fields, nn::WeightMap& w) {
  return std::make_unique<Mixed>(nn::Scope(w));
}

}  // namespace

std::unique_ptr<lm::LanguageModel> make_mixed_model() {
  std::string config = R"({"model_type": "mixed"})";
  return lm::bind({lm::parse_config(config), config, mixed_weights(), {}}, make_mixed);
}

}  // namespace mlxcpp::test
