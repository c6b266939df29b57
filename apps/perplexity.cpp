// `mlxcpp perplexity`: how well a model predicts a text.
// Source: mlx-lm perplexity.py (0.32.2).
#include "apps/common/chatter.h"
#include "apps/common/clock.h"
#include "apps/common/edge.h"
#include "apps/common/generation.h"
#include "apps/common/interrupt.h"
#include "apps/common/model.h"
#include "apps/common/output.h"
#include "apps/common/progress.h"
#include "apps/common/samples.h"
#include "apps/verbs.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/lm/evaluate.h"

#include <mlx/memory.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <string>

namespace mlxcpp::apps {
namespace {

struct Flags {
  std::string model, adapter_path, data_path;
  nn::Residency weights = nn::Residency::automatic;
  SampleOptions samples;
  int batch_size = 8;
  Chatter chatter;
};

void check(const Flags& flags) {
  auto require = [](bool ok, const char* flag, const char* expected, int found) {
    if (!ok) throw InputError(describe(flag, "bad value", expected, std::to_string(found)));
  };
  const SampleOptions& s = flags.samples;
  require(s.sequence_length >= 2, "--sequence-length", "at least 2", s.sequence_length);
  require(s.num_samples > 0 || s.num_samples == -1,
          "--num-samples",
          "at least 1, or -1 for all",
          s.num_samples);
  require(flags.batch_size >= 1, "--batch-size", "at least 1", flags.batch_size);
}

struct Result {
  lm::Perplexity perplexity;
  std::size_t samples = 0;
  double seconds = 0;

  double tokens_per_second() const { return double(perplexity.tokens) / seconds; }
};

Result evaluate(const lm::ModelContext& context, const Flags& flags) {
  auto rows = load_samples(flags.data_path, context.tokenizer(), flags.samples);
  if (flags.samples.num_samples > int(rows.size()) && !flags.chatter.quiet)
    note(fmt::format("mlxcpp: warning: {} has only {} samples of {} tokens\n",
                     flags.data_path,
                     rows.size(),
                     flags.samples.sequence_length));
  ProgressBar bar("Scoring", ProgressBar::Unit::tokens, flags.chatter.progress());
  auto progress = [&bar](std::size_t done, std::size_t total) {
    throw_if_interrupted();
    bar.update(done, total);
  };
  auto start = std::chrono::steady_clock::now();
  auto perplexity =
      lm::perplexity(context.model(), rows, {.batch_size = flags.batch_size, .progress = progress});
  std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return {perplexity, rows.size(), seconds.count()};
}

void write_json(const Result& r, const Flags& flags) {
  io::JsonWriter json;
  json.begin_object()
      .member("perplexity", r.perplexity.value)
      .member("standard_error", r.perplexity.standard_error)
      .member("mean_loss", r.perplexity.mean_loss)
      .member("tokens", r.perplexity.tokens)
      .member("samples", r.samples)
      .member("sequence_length", flags.samples.sequence_length)
      .member("seconds", r.seconds)
      .member("tokens_per_second", r.tokens_per_second())
      .member("peak_memory", mx::get_peak_memory())
      .member("peak_process_memory", peak_process_memory())
      .end_object();
  print(json.str() + "\n");
}

int run(const Flags& flags) {
  flags.chatter.attach_log();
  check(flags);
  auto context = load_model(flags.model, flags.chatter, flags.weights, flags.adapter_path);
  Result r = evaluate(context, flags);
  if (flags.chatter.json) {
    write_json(r, flags);
  } else {
    std::string error;
    if (auto e = r.perplexity.standard_error) error = fmt::format(" \u00b1 {:.3f}", *e);
    print(fmt::format("Perplexity: {:.3f}{}\n", r.perplexity.value, error));
  }
  if (flags.chatter.stats())
    note(
        fmt::format("{} tokens of {} samples in {:.2f} s, {:.0f} tokens/s\n"
                    "peak memory: {} (of it MLX {})\n",
                    r.perplexity.tokens,
                    r.samples,
                    r.seconds,
                    r.tokens_per_second(),
                    human_bytes(peak_process_memory()),
                    human_bytes(mx::get_peak_memory())));
  return kExitDone;
}

}  // namespace

Verb add_perplexity(CLI::App& command) {
  auto* app = command.add_subcommand("perplexity", "Measure how well a model predicts a text");
  auto flags = std::make_shared<Flags>();
  add_model_flag(*app, flags->model);
  add_weights_flag(*app, flags->weights);
  add_adapter_flag(*app, flags->adapter_path);
  app->add_option(
         "--data-path",
         flags->data_path,
         "A file of text, or a .jsonl file (or a folder with train.jsonl) whose lines have "
         "text, messages, or prompt and completion")
      ->required()
      ->type_name("FILE");
  app->add_option("--sequence-length", flags->samples.sequence_length, "Tokens of a sample")
      ->capture_default_str()
      ->type_name("N");
  app->add_option("--num-samples", flags->samples.num_samples, "How many samples; -1: all")
      ->capture_default_str()
      ->type_name("N");
  app->add_option("--batch-size", flags->batch_size, "Samples in one pass")
      ->capture_default_str()
      ->type_name("N");
  app->add_option("--seed", flags->samples.seed, "Of the order of a .jsonl file's lines")
      ->capture_default_str()
      ->type_name("N");
  add_chatter_flags(*app, flags->chatter);
  return {app, [flags] { return run(*flags); }};
}

}  // namespace mlxcpp::apps
