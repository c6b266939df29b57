// `mlxcpp generate`: one prompt, one answer, as it comes.
#include "apps/common/chatter.h"
#include "apps/common/clock.h"
#include "apps/common/edge.h"
#include "apps/common/generation.h"
#include "apps/common/interrupt.h"
#include "apps/common/model.h"
#include "apps/common/output.h"
#include "apps/common/progress.h"
#include "apps/common/prompt_cache.h"
#include "apps/common/speculation.h"
#include "apps/verbs.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/io/utf8.h"
#include "mlxcpp/text/messages.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mlxcpp::apps {
namespace {

constexpr std::size_t kPromptLimit = std::size_t{64} << 20;

struct Flags {
  std::string model, adapter_path, prompt, system_prompt, prefill_response, cache_file;
  nn::Residency weights = nn::Residency::automatic;
  bool ignore_chat_template = false, logprobs = false;
  int top_logprobs = 0;
  GenerationFlags generation;
  SpeculationFlags speculation;
  Chatter chatter;
};

/// Seconds from the start of the process to the first token.
struct FirstToken {
  double start = 0, load = 0, prefill = 0;
  double total() const { return start + load + prefill; }
};

/// All that an answer gave.
struct Answer {
  std::string text, stop_string;
  std::vector<text::TokenId> tokens;
  std::vector<std::optional<float>> logprobs;
  std::vector<std::vector<lm::TokenLogprob>> top_logprobs;
  std::optional<lm::StopReason> stop;
  lm::GenerateStats stats;
  FirstToken first;
};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size())
    text.replace(at, from.size(), to);
}

/// As mlx-lm: "-" is standard input as it is; otherwise a written \n or \t is meant.
std::string read_prompt(std::string prompt) {
  if (prompt == "-") {
    prompt = read_input(kPromptLimit);
  } else {
    replace_all(prompt, "\\n", "\n");
    replace_all(prompt, "\\t", "\t");
  }
  if (prompt.empty()) throw InputError(describe("--prompt", "empty", "some text"));
  std::size_t good = io::utf8_prefix(prompt);
  if (good < prompt.size())
    throw InputError(
        describe("--prompt", "not UTF-8", "UTF-8", fmt::format("a bad byte at {}", good)));
  return prompt;
}

std::vector<text::TokenId> encode(const Flags& flags,
                                  const std::string& prompt,
                                  const text::Tokenizer& tokenizer) {
  bool use_template = tokenizer.has_chat_template() && !flags.ignore_chat_template;
  if (!flags.cache_file.empty())
    return encode_rest(
        prompt, tokenizer, {.extra_json = flags.generation.template_config}, use_template);
  if (!use_template) {
    const char* lost = !flags.system_prompt.empty()      ? "--system-prompt"
                       : !flags.prefill_response.empty() ? "--prefill-response"
                                                         : nullptr;
    if (lost) throw InputError(describe(lost, "needs a chat template", {}, "none in use"));
    return tokenizer.encode_prompt(prompt);
  }
  std::vector<text::ChatMessage> messages;
  if (!flags.system_prompt.empty())
    messages.push_back({.role = "system", .content = flags.system_prompt});
  messages.push_back({.role = "user", .content = prompt});
  bool prefill = !flags.prefill_response.empty();
  if (prefill) messages.push_back({.role = "assistant", .content = flags.prefill_response});
  return tokenizer.apply_chat_template_ids(text::to_json(messages),
                                           {.add_generation_prompt = !prefill,
                                            .continue_final_message = prefill,
                                            .extra_json = flags.generation.template_config});
}

/// Per token of the answer the most likely ones.
void write_top_logprobs(io::JsonWriter& json, const Answer& a) {
  json.key("top_logprobs").begin_list();
  for (auto& top : a.top_logprobs) {
    json.begin_list();
    for (auto& t : top)
      json.begin_object().member("token", t.id).member("logprob", t.logprob).end_object();
    json.end_list();
  }
  json.end_list();
}

void write_json(const Flags& flags, const Answer& a) {
  io::JsonWriter json;
  json.begin_object().member("text", a.text).member("tokens", a.tokens);
  if (flags.logprobs || flags.top_logprobs > 0) json.member("logprobs", a.logprobs);
  if (flags.top_logprobs > 0) write_top_logprobs(json, a);
  if (a.stop) {
    json.member("stop", lm::name_of(*a.stop)).member("finish_reason", lm::finish_reason(*a.stop));
    if (*a.stop == lm::StopReason::stop) json.member("stop_string", a.stop_string);
  }
  json.key("stats").begin_object();
  json.member("prompt_tokens", a.stats.prompt_tokens)
      .member("prompt_tps", a.stats.prompt_tps())
      .member("generation_tokens", a.stats.generation_tokens)
      .member("generation_tps", a.stats.generation_tps());
  json.key("time_to_first_token").begin_object();
  json.member("start", a.first.start)
      .member("load", a.first.load)
      .member("prefill", a.first.prefill)
      .member("total", a.first.total())
      .end_object();
  if (a.stats.speculation.passes) write_speculation(json, a.stats.speculation);
  json.member("peak_memory", a.stats.peak_memory)
      .member("peak_process_memory", peak_process_memory())
      .end_object()
      .end_object();
  print(json.str() + "\n");
}

void note_stats(const Answer& a) {
  const auto& s = a.stats;
  note(fmt::format("prompt: {} tokens, {:.1f} tokens/s\n", s.prompt_tokens, s.prompt_tps()));
  note(fmt::format("answer: {} tokens, {:.1f} tokens/s, ended by {}\n",
                   s.generation_tokens,
                   s.generation_tps(),
                   a.stop ? lm::name_of(*a.stop) : "nothing"));
  note(speculation_note(s.speculation));
  note(fmt::format("first token: {:.2f} s (start {:.2f}, load {:.2f}, prefill {:.2f})\n",
                   a.first.total(),
                   a.first.start,
                   a.first.load,
                   a.first.prefill));
  note(fmt::format("peak memory: {} (of it MLX {})\n",
                   human_bytes(peak_process_memory()),
                   human_bytes(s.peak_memory)));
}

lm::TokenStream start(const lm::ModelContext& context,
                      std::vector<text::TokenId> prompt,
                      const lm::GenerateOptions& options,
                      const std::string& cache_file) {
  std::shared_ptr<lm::CachedPrompt> cached;
  if (!cache_file.empty()) cached = load_before(cache_file, context.model(), prompt);
  try {
    return lm::TokenStream(context.shared_model(),
                           context.tokenizer(),
                           std::move(prompt),
                           options,
                           context.config().max_position_embeddings.value_or(0),
                           cached);
  } catch (const InputError& e) {
    throw InputError(in_flag_terms(e.what()));
  }
}

/// Pulls the answer; with `show`, text goes to standard output as it comes.
Answer pull(lm::TokenStream stream, FirstToken first, bool show) {
  Answer a{.first = first};
  CancelOnInterrupt guard(stream);
  bool waiting = true;
  while (auto event = stream.next()) {
    if (waiting) a.first.prefill = seconds_in_main() - first.load;
    waiting = false;
    if (show) print(event->text);
    a.text += event->text;
    if (event->token) {
      a.tokens.push_back(*event->token);
      a.logprobs.push_back(event->logprob);
      a.top_logprobs.push_back(std::move(event->top_logprobs));
    }
    a.stats = event->stats;
    a.stop = event->stop;
    a.stop_string = event->stop_string;
  }
  return a;
}

int run(const Flags& flags) {
  flags.chatter.attach_log();
  check(flags.generation);
  std::string prompt = read_prompt(flags.prompt);
  if (!flags.cache_file.empty())
    for (auto [given, name] : {std::pair{!flags.system_prompt.empty(), "--system-prompt"},
                               std::pair{!flags.prefill_response.empty(), "--prefill-response"}})
      if (given) throw InputError(describe(name, "can not follow a cached prompt"));
  auto model = model_for_cache(flags.model, flags.adapter_path, flags.cache_file, flags.generation);
  auto context =
      load_model(model, flags.chatter, flags.weights, flags.adapter_path, flags.speculation.mtp);
  auto options = make_options(flags.generation, context.generation_defaults(), context.tokenizer());
  options.logprobs = flags.logprobs;
  options.top_logprobs = flags.top_logprobs;
  options.speculation = make_speculation_options(flags.speculation, context, flags.chatter);
  FirstToken first{.start = seconds_before_main(), .load = seconds_in_main()};

  std::optional<ProgressBar> bar;
  bar.emplace("Prompt", ProgressBar::Unit::tokens, flags.chatter.progress());
  options.prefill_progress = [&bar](int done, int total) {
    if (bar) bar->update(std::uint64_t(done), std::uint64_t(total));
    if (done >= total) bar.reset();  // its line is gone before the answer begins
    return !interrupted();
  };
  Answer answer =
      pull(start(context, encode(flags, prompt, context.tokenizer()), options, flags.cache_file),
           first,
           !flags.chatter.json);
  bar.reset();

  if (flags.chatter.json)
    write_json(flags, answer);
  else if (!answer.text.empty() && !answer.text.ends_with('\n'))
    print("\n");
  if (answer.stop == lm::StopReason::context && !flags.chatter.quiet && !flags.chatter.json)
    note("mlxcpp: warning: the answer was cut, since the model's context is full\n");
  if (flags.chatter.stats()) note_stats(answer);
  return answer.stop == lm::StopReason::cancelled ? kExitInterrupted : kExitDone;
}

}  // namespace

Verb add_generate(CLI::App& command) {
  auto* app = command.add_subcommand("generate", "Answer a prompt");
  auto flags = std::make_shared<Flags>();
  add_model_flag(*app, flags->model);
  add_weights_flag(*app, flags->weights);
  add_adapter_flag(*app, flags->adapter_path);
  app->add_option(
         "-p,--prompt",
         flags->prompt,
         "The prompt (needed); - reads standard input; \\n and \\t are a new line and a tab")
      ->type_name("TEXT")
      ->group("Prompt");
  app->add_option("--system-prompt", flags->system_prompt, "How the model shall behave")
      ->type_name("TEXT")
      ->group("Prompt");
  app->add_option("--prefill-response",
                  flags->prefill_response,
                  "How the answer begins; the model goes on from there")
      ->type_name("TEXT")
      ->group("Prompt");
  app->add_flag("--ignore-chat-template",
                flags->ignore_chat_template,
                "The prompt is continued, not answered")
      ->group("Prompt");
  add_prompt_cache_flag(
      *app, flags->cache_file, "What cache-prompt wrote: the prompt goes on with its message");
  add_generation_flags(*app, flags->generation);
  add_speculation_flags(*app, flags->speculation);
  add_chatter_flags(*app, flags->chatter);
  app->add_flag("--logprobs", flags->logprobs, "With --json: the log-probability of each token")
      ->needs(app->get_option("--json"))
      ->group("Output");
  app->add_option("--top-logprobs",
                  flags->top_logprobs,
                  "With --json: likewise of so many most likely tokens in the place of each")
      ->needs(app->get_option("--json"))
      ->check(CLI::NonNegativeNumber)
      ->group("Output");
  return {app, [flags] { return run(*flags); }};
}

}  // namespace mlxcpp::apps
