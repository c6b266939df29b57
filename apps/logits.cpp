// `mlxcpp logits`: a model's raw numbers, to compare with another implementation's.
#include "apps/common/edge.h"
#include "apps/common/interrupt.h"
#include "apps/common/model.h"
#include "apps/verbs.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/builtin/models.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/nn/safetensors_file.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace mlxcpp::apps {
namespace {

struct Flags {
  std::string model, adapter_path, tokens, out, prompt_cache;
  nn::Residency weights = nn::Residency::automatic;
  int chunk = 0, steps = 0;
  bool json = false;  // errors only
};

/// Feeds ids that follow what the caches hold: (n) -> (n, V) float32, evaluated.
array forward(const lm::LanguageModel& model, lm::Caches& caches, const std::vector<int>& ids) {
  throw_if_interrupted();
  lm::Input in{.tokens = array(ids.data(), {1, int(ids.size())}, mx::int32)};
  array logits = mx::astype(mx::squeeze(model.logits(model.hidden(in, caches)), 0), mx::float32);
  auto all = caches.arrays();
  all.push_back(logits);
  mx::eval(all);
  return logits;
}

array last_row(const array& x) { return mx::slice(x, {x.shape(0) - 1, 0}, x.shape()); }

/// A lookup beyond the vocabulary would read other memory.
void require_known(const std::vector<int>& ids, int vocab_size) {
  for (int id : ids)
    if (id >= vocab_size)
      throw InputError(describe("--tokens",
                                "beyond the vocabulary",
                                "ids below " + std::to_string(vocab_size),
                                std::to_string(id)));
}

std::unordered_map<std::string, array> compute(const lm::LanguageModel& model,
                                               const std::vector<int>& ids,
                                               const Flags& flags) {
  auto caches = model.make_caches();
  std::size_t chunk = flags.chunk > 0 ? std::size_t(flags.chunk) : ids.size();
  std::vector<array> pieces;
  for (std::size_t i = 0; i < ids.size(); i += chunk) {
    auto end = ids.begin() + std::ptrdiff_t(std::min(ids.size(), i + chunk));
    pieces.push_back(forward(model, caches, {ids.begin() + std::ptrdiff_t(i), end}));
  }
  array logits = mx::concatenate(pieces, 0);
  std::unordered_map<std::string, array> out{{"logits", logits}};
  if (flags.steps == 0) return out;
  std::vector<int> tokens;
  std::vector<array> rows{last_row(logits)};
  for (int i = 0; i < flags.steps; ++i) {
    if (i > 0) rows.push_back(forward(model, caches, {tokens.back()}));
    tokens.push_back(int(mx::argmax(rows.back()).item<std::uint32_t>()));
  }
  out.emplace("tokens", array(tokens.data(), {flags.steps}, mx::int32));
  out.emplace("step_logits", mx::concatenate(rows, 0));
  return out;
}

int run(const Flags& flags) {
  if (!flags.prompt_cache.empty())
    throw UnsupportedError(
        describe("--prompt-cache", "not supported yet", "all tokens in --tokens"));
  auto at_least = [](const char* flag, int value, int least) {
    if (value < least)
      throw InputError(describe(flag,
                                "bad value",
                                "a number of at least " + std::to_string(least),
                                std::to_string(value)));
  };
  at_least("--chunk", flags.chunk, 0);
  at_least("--steps", flags.steps, 0);
  auto ids = parse_ids("--tokens", flags.tokens);
  auto model = lm::load_model(lm::ModelConfiguration::from_directory(find_model(flags.model)),
                              builtin_models(),
                              {.residency = flags.weights, .adapter_path = flags.adapter_path});
  require_known(ids, model->vocab_size());
  auto arrays = compute(*model, ids, flags);
  for (auto& [name, values] : arrays) values = mx::contiguous(values);
  nn::write_safetensors(flags.out, arrays);
  return kExitDone;
}

}  // namespace

Verb add_logits(CLI::App& command) {
  auto* app = command.add_subcommand("logits", "Write a model's raw logits (for developers)");
  auto flags = std::make_shared<Flags>();
  add_model_flag(*app, flags->model);
  add_weights_flag(*app, flags->weights);
  add_adapter_flag(*app, flags->adapter_path);
  app->add_option("--tokens", flags->tokens, "Prompt ids, with commas between")
      ->required()
      ->type_name("IDS");
  app->add_option("--chunk", flags->chunk, "Feed the prompt in pieces of this many; 0: as a whole")
      ->capture_default_str()
      ->type_name("N");
  app->add_option("--steps", flags->steps, "Continue with this many most likely tokens")
      ->capture_default_str()
      ->type_name("K");
  app->add_option("--prompt-cache", flags->prompt_cache, "Not supported yet")->type_name("FILE");
  app->add_option("--out",
                  flags->out,
                  "A safetensors file: float32 `logits` (L, V) of all prompt positions; with "
                  "--steps also `tokens` (K) and `step_logits` (K, V)")
      ->required()
      ->type_name("FILE");
  app->add_flag("--json", flags->json, "Errors as a JSON object");
  return {app, [flags] { return run(*flags); }};
}

}  // namespace mlxcpp::apps
