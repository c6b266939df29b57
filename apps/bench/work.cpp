#include "apps/bench/work.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace mlxcpp::apps::bench {
namespace {

/// The multiply-adds that one token takes with all of a weight.
double numbers(const ops::WeightData& w) {
  return double(w.value->size()) / w.value->shape(-1) * w.inputs();
}

double bytes(const ops::WeightData& w) {
  double n = double(w.value->nbytes());
  for (auto* part : {&w.scales, &w.zeros, &w.bias})
    if (*part) n += double((**part)->nbytes());
  return n;
}

bool is_table(std::string_view path) {
  return path.substr(path.rfind('.') + 1).find("embed") != path.npos;
}

bool is_experts(std::string_view path) {
  return path.find("experts") != path.npos || path.find("switch_") != path.npos;
}

/// Whether it makes nothing that later tokens see, as long as it is in the last layer.  Other names
/// count as if they did.
bool serves_its_token_alone(std::string_view path) {
  auto name = path.substr(path.rfind('.') + 1);
  for (auto* known : {"q_proj",
                      "q_a_proj",
                      "q_b_proj",
                      "o_proj",
                      "out_proj",
                      "gate_proj",
                      "up_proj",
                      "down_proj"})
    if (name == known) return true;
  return false;
}

int seen(const ops::KvLayout& kv, int tokens) {
  return kv.window > 0 ? std::min(kv.window, tokens) : tokens;
}

}  // namespace

Workload::Workload(const lm::LanguageModel& model, int heads, int experts)
    : weight_bytes_(model.nbytes()), layout_(model.layout()), heads_(heads) {
  const auto& manifest = model.manifest();
  auto makes_logits = [&](const ops::WeightData& w) {
    return w.value->ndim() == 2 && w.outputs() == model.vocab_size();
  };
  const std::string last = ".layers." + std::to_string(layout_.size() - 1) + ".";
  auto can_be_left_out = [&](std::string_view path) {
    return path.find(last) != path.npos && serves_its_token_alone(path);
  };
  bool has_head = false;  // of its own
  for (auto& [path, w] : manifest.linears) has_head |= makes_logits(*w) && !is_table(path);
  double in_linears = 0;
  for (auto& [path, w] : manifest.linears) {
    in_linears += bytes(*w);
    bool stacked = w->value->ndim() == 3;
    if (makes_logits(*w) && (!has_head || !is_table(path))) {
      head_products_ += numbers(*w);
      dense_bytes_ += bytes(*w);
    } else if (stacked && experts > 0 && is_experts(path)) {
      expert_share_ = std::min(1.0, double(experts) / w->value->shape(0));
      expert_bytes_ += bytes(*w);
      expert_products_ += numbers(*w) * expert_share_;
      if (can_be_left_out(path)) last_products_ += numbers(*w) * expert_share_;
    } else if (stacked || !is_table(path)) {
      dense_products_ += numbers(*w);
      if (can_be_left_out(path)) last_products_ += numbers(*w);
      dense_bytes_ += bytes(*w);
    }
  }
  // Norms and the like are in no projection.
  dense_bytes_ += std::max(0.0, double(weight_bytes_) - in_linears);
}

double Workload::read_by_pass(int tokens) const {
  return dense_bytes_ + expert_bytes_ * std::min(1.0, tokens * expert_share_);
}

double Workload::cache_bytes(int tokens) const {
  double n = 0;
  for (auto& layer : layout_)
    for (auto& kv : layer.kv)
      n +=
          double(kv.heads) * (kv.k_dim + kv.v_dim) * lm::kv_number_bytes(kv, {}) * seen(kv, tokens);
  return n;
}

double Workload::attention_products(int keys, std::size_t layers) const {
  double n = 0;
  for (std::size_t i = 0; i < layers; ++i)
    for (auto& kv : layout_[i].kv) n += double(heads_) * (kv.k_dim + kv.v_dim) * seen(kv, keys);
  return n;
}

Work Workload::of(const Case& c, int chunk) const {
  Work work;
  for (int i = 0; i < c.tokens; ++i) {
    int keys = c.depth + i + 1;
    bool asked = !c.prefill || i == c.tokens - 1;
    double products = products_of_token() - (asked ? 0 : last_products_);
    auto layers = layout_.size() - (asked || last_products_ == 0 ? 0 : 1);
    work.products += c.batch * (products + attention_products(keys, layers));
    if (!c.prefill) {
      work.products += c.batch * head_products_;
      work.bytes += read_by_pass(c.batch) + c.batch * cache_bytes(keys);
    }
  }
  if (!c.prefill) return work;
  work.products += head_products_;  // of the last token only
  for (int done = 0; done < c.tokens; done += chunk) {
    int n = std::min(chunk, c.tokens - done);
    work.bytes += read_by_pass(n) + cache_bytes(c.depth + done + n);
  }
  return work;
}

}  // namespace mlxcpp::apps::bench
