// `mlxcpp cache-prompt`: computes a prompt and writes what the model keeps of it, for `generate`.
// Source: mlx-lm cache_prompt.py (0.32.2).
#include "apps/common/chatter.h"
#include "apps/common/edge.h"
#include "apps/common/generation.h"
#include "apps/common/interrupt.h"
#include "apps/common/model.h"
#include "apps/common/output.h"
#include "apps/common/progress.h"
#include "apps/verbs.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/io/utf8.h"
#include "mlxcpp/lm/prompt_file.h"
#include "mlxcpp/lm/step.h"
#include "mlxcpp/text/messages.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::apps {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kPromptLimit = std::size_t{64} << 20;

struct Flags {
  std::string model, adapter_path, prompt, file, reader = "0.32";
  nn::Residency weights = nn::Residency::automatic;
  bool ignore_chat_template = false;
  GenerationFlags generation;
  Chatter chatter;
};

const std::pair<const char*, lm::PromptFileForm> kReaders[] = {
    {"0.32", lm::PromptFileForm::current},
    {"0.32-dev", lm::PromptFileForm::source_0_32},
    {"0.31", lm::PromptFileForm::release_0_31}};

lm::PromptFileForm form_for(const std::string& reader) {
  for (auto& [name, form] : kReaders)
    if (reader == name) return form;
  throw InputError(describe("--mlx-lm", "not known", "0.32, 0.32-dev or 0.31", reader));
}

std::string read_prompt(const Flags& flags) {
  std::string prompt = flags.prompt == "-" ? read_input(kPromptLimit) : flags.prompt;
  if (prompt.empty()) throw InputError(describe("--prompt", "empty", "some text"));
  if (!io::is_utf8(prompt)) throw InputError(describe("--prompt", "not UTF-8"));
  return prompt;
}

/// A user's message that is not at its end yet.
std::vector<text::TokenId> encode(const Flags& flags,
                                  const std::string& prompt,
                                  const text::Tokenizer& tokenizer) {
  if (flags.ignore_chat_template || !tokenizer.has_chat_template())
    return tokenizer.encode_prompt(prompt);
  std::vector<text::ChatMessage> messages{{.role = "user", .content = prompt}};
  return tokenizer.apply_chat_template_ids(
      text::to_json(messages), {.add_generation_prompt = false, .continue_final_message = true});
}

struct Result {
  std::string file;
  std::size_t tokens = 0;
  std::uint64_t bytes = 0;
  double seconds = 0;
};

/// Nothing after Ctrl-C.
std::optional<Result> compute(const Flags& flags, const std::string& prompt, const fs::path& file) {
  auto context = load_model(flags.model, flags.chatter, flags.weights, flags.adapter_path);
  auto options = make_options(flags.generation, context.generation_defaults(), context.tokenizer());
  options.validate(context.model().vocab_size());
  auto ids = encode(flags, prompt, context.tokenizer());
  if (ids.empty()) throw InputError(describe("--prompt", "without tokens", "some text"));
  for (auto id : ids)
    if (id >= text::TokenId(context.model().vocab_size()))
      throw InputError(describe("--prompt", "token beyond the model's vocabulary"));
  if (int room = context.config().max_position_embeddings.value_or(0);
      room && ids.size() > size_t(room))
    throw InputError(describe("--prompt",
                              "longer than the model's context",
                              fmt::format("at most {} tokens", room),
                              std::to_string(ids.size())));
  auto cached = std::make_shared<lm::CachedPrompt>(context.model(), lm::cache_options(options));
  auto start = std::chrono::steady_clock::now();
  {
    ProgressBar bar("Prompt", ProgressBar::Unit::tokens, flags.chatter.progress());
    lm::Stepper stepper(context.shared_model(), cached, options, 0);
    bool done = stepper.prefill(ids, [&bar](int n, int total) {
      bar.update(std::uint64_t(n), std::uint64_t(total));
      return !interrupted();
    });
    if (!done) return {};
  }
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  lm::PromptFileInfo info{.model = flags.model.empty() ? find_model("").string() : flags.model,
                          .tokenizer_config = "{}"};
  if (!flags.adapter_path.empty()) info.adapter = flags.adapter_path;
  lm::save_prompt(file, context.model(), *cached, info, form_for(flags.reader));
  return Result{file.string(), ids.size(), fs::file_size(file), took.count()};
}

int run(const Flags& flags) {
  flags.chatter.attach_log();
  check(flags.generation);
  form_for(flags.reader);
  std::string prompt = read_prompt(flags);
  fs::path file = flags.file;
  if (file.extension() != ".safetensors") file += ".safetensors";  // as MLX does
  auto result = compute(flags, prompt, file);
  if (!result) return kExitInterrupted;
  double speed = result->seconds > 0 ? double(result->tokens) / result->seconds : 0;
  if (flags.chatter.json) {
    io::JsonWriter json;
    json.begin_object()
        .member("prompt_cache_file", result->file)
        .member("prompt_tokens", result->tokens)
        .member("bytes", result->bytes)
        .member("prompt_tps", speed)
        .end_object();
    print(json.str() + "\n");
  } else if (!flags.chatter.quiet) {
    note(fmt::format("{}: {} tokens, {}, {:.1f} tokens/s\n",
                     result->file,
                     result->tokens,
                     human_bytes(result->bytes),
                     speed));
  }
  return kExitDone;
}

}  // namespace

Verb add_cache_prompt(CLI::App& command) {
  auto* app = command.add_subcommand(
      "cache-prompt", "Compute a prompt once, for many answers of generate to what follows it");
  auto flags = std::make_shared<Flags>();
  add_model_flag(*app, flags->model);
  add_weights_flag(*app, flags->weights);
  add_adapter_flag(*app, flags->adapter_path);
  app->add_option(
         "-p,--prompt", flags->prompt, "How the user's message begins; - reads standard input")
      ->required()
      ->type_name("TEXT")
      ->group("Prompt");
  app->add_flag("--ignore-chat-template",
                flags->ignore_chat_template,
                "The prompt is text, and no message")
      ->group("Prompt");
  app->add_option("--prompt-cache-file", flags->file, "Where to write")
      ->required()
      ->type_name("FILE")
      ->group("Cache");
  app->add_option("--mlx-lm",
                  flags->reader,
                  "The version of mlx-lm that can read the file, too: 0.32, 0.32-dev or 0.31")
      ->capture_default_str()
      ->type_name("VERSION")
      ->group("Cache");
  add_cache_flags(*app, flags->generation);
  add_chatter_flags(*app, flags->chatter);
  return {app, [flags] { return run(*flags); }};
}

}  // namespace mlxcpp::apps
