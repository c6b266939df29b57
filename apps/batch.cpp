// `mlxcpp batch`: many prompts from a file, answered side by side, in their order.
#include "apps/batch/answers_file.h"
#include "apps/batch/lines.h"
#include "apps/common/chatter.h"
#include "apps/common/clock.h"
#include "apps/common/edge.h"
#include "apps/common/generation.h"
#include "apps/common/interrupt.h"
#include "apps/common/model.h"
#include "apps/common/output.h"
#include "apps/common/progress.h"
#include "apps/common/speculation.h"
#include "apps/verbs.h"
#include "mlxcpp/lm/engine.h"
#include "mlxcpp/lm/prompt_cache.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace mlxcpp::apps {
namespace {

using namespace std::chrono_literals;

struct Flags {
  std::string model, adapter_path, file, output;
  nn::Residency weights = nn::Residency::automatic;
  int max_rows = 16;
  std::uint64_t memory_limit = 0;
  lm::PromptCacheOptions prompts;  // no entries: no store of them
  LineDefaults lines;
  SpeculationFlags speculation;
  Chatter chatter;
};

/// A line that is being answered, or waits for those before it to be written.
struct Job {
  LineAnswer answer;
  std::optional<lm::Reply> reply;  // nothing: it has ended
};

class Run {
 public:
  explicit Run(const Flags& flags)
      : flags_(flags),
        source_(flags.file),
        bar_("Answering", ProgressBar::Unit::lines, flags.chatter.progress()) {
    if (!flags.output.empty()) file_.emplace(flags.output);
    skip_answered();
  }

  int run() {
    engine_.emplace([this] { return load(); }, engine_options());
    start_ = std::chrono::steady_clock::now();
    while (!interrupted()) {
      submit_more();
      if (jobs_.empty()) break;
      collect();
      write_finished();
    }
    engine_->stop();
    if (file_) file_->sync();
    if (interrupted()) return kExitInterrupted;
    if (flags_.chatter.stats()) note_stats();
    return exit_code_;
  }

 private:
  /// Those before the first line that has no answer yet.
  void skip_answered() {
    if (!file_) return;
    for (auto& a : file_->answered()) {
      auto line = source_.next();
      std::string expected = line ? name(line->number, id_of(line->text)) : "no further line";
      if (!line || line->number != a.number || id_of(line->text) != a.id)
        throw InputError(
            describe(flags_.output, "answers other prompts", expected, name(a.number, a.id)));
      ++done_;
    }
  }

  static std::string name(std::size_t number, const std::string& id) {
    return fmt::format("line {}{}", number, id.empty() ? "" : ", id " + id);
  }

  /// On the engine's thread.
  lm::ModelContext load() {
    auto context = load_model(
        flags_.model, flags_.chatter, flags_.weights, flags_.adapter_path, flags_.speculation.mtp);
    speculation_ = make_speculation_options(flags_.speculation, context, flags_.chatter);
    make_options(flags_.lines.flags, context.generation_defaults(), context.tokenizer());
    return context;
  }

  lm::EngineOptions engine_options() const {
    lm::EngineOptions o{.batch = {.max_rows = flags_.max_rows, .memory_limit = flags_.memory_limit},
                        .max_requests = window(),
                        .max_events = 256};
    if (auto n = flags_.lines.flags.prefill_step_size) o.batch.step.prefill_step_size = *n;
    if (flags_.prompts.max_entries)
      o.batch.prompts = std::make_shared<lm::PromptCache>(flags_.prompts);
    return o;
  }

  /// Enough that a long answer before others does not leave rows empty.
  int window() const { return 8 * flags_.max_rows; }

  void submit_more() {
    while (!source_ended_ && int(jobs_.size()) < window()) {
      auto line = source_.next();
      if (!line) source_ended_ = true;
      if (line) jobs_.push_back(job_of(*line));
    }
  }

  Job job_of(const LineSource::Line& line) {
    Job job;
    job.answer.number = line.number;
    job.answer.id = id_of(line.text);
    try {
      auto parsed = parse_line(line, flags_.lines, engine_->context());
      parsed.request.options.speculation = speculation_;
      job.reply.emplace(engine_->submit(std::move(parsed.request)));
    } catch (const InputError&) {
      job.answer.failure = current_failure();
    }
    return job;
  }

  /// Takes what came; waits a little for the line whose turn it is.
  void collect() {
    for (auto& job : jobs_) pull(job, &job == &jobs_.front() ? 20ms : 0ms);
  }

  void pull(Job& job, std::chrono::milliseconds patience) {
    lm::RowEvent e;
    while (job.reply && job.reply->next(&e, patience) == lm::Pull::event) {
      auto& a = job.answer;
      a.answer.text += e.event.text;
      a.answer.stats = e.event.stats;
      if (e.event.token) {
        ++tokens_;
        a.answer.tokens.push_back(*e.event.token);
        a.logprobs.push_back(e.event.logprob);
      }
      if (e.event.stop) a.answer.stop = *e.event.stop;
      a.stop_string = e.event.stop_string;
      a.failure = e.failure;
      if (e.event.stop || e.failure) job.reply.reset();
      patience = 0ms;
    }
  }

  void write_finished() {
    std::string lines;
    for (; !jobs_.empty() && !jobs_.front().reply; jobs_.pop_front(), ++done_) {
      auto& a = jobs_.front().answer;
      prompt_tokens_ += a.answer.stats.prompt_tokens;
      cached_tokens_ += a.answer.stats.cached_tokens;
      if (a.failure && exit_code_ == kExitDone) exit_code_ = exit_code(a.failure->kind);
      lines += to_line(a, flags_.lines.logprobs);
    }
    if (file_)
      file_->add(lines);
    else
      print(lines);
    bar_.update(done_, source_.count().value_or(done_ + jobs_.size()));
  }

  void note_stats() {
    std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_;
    note(fmt::format("{} lines, {} tokens in {:.2f} s, {:.1f} tokens/s\n",
                     done_,
                     tokens_,
                     took.count(),
                     double(tokens_) / took.count()));
    note(fmt::format("prompts: {} tokens, {} of them from earlier prompts\npeak memory: {}\n",
                     prompt_tokens_,
                     cached_tokens_,
                     human_bytes(peak_process_memory())));
  }

  const Flags& flags_;
  LineSource source_;
  std::optional<AnswersFile> file_;
  ProgressBar bar_;
  std::optional<lm::Engine> engine_;
  std::deque<Job> jobs_;
  std::chrono::steady_clock::time_point start_;
  std::size_t done_ = 0, tokens_ = 0;
  std::int64_t prompt_tokens_ = 0, cached_tokens_ = 0;
  bool source_ended_ = false;
  int exit_code_ = kExitDone;
  lm::SpeculationOptions speculation_;  // made by load()
};

int run(const Flags& flags) {
  flags.chatter.attach_log();
  check(flags.lines.flags);
  if (flags.max_rows < 1)
    throw InputError(
        describe("--max-rows", "out of range", "1 or more", std::to_string(flags.max_rows)));
  return Run(flags).run();
}

}  // namespace

Verb add_batch(CLI::App& command) {
  auto* app = command.add_subcommand("batch", "Answer the prompts of a file, many at once");
  auto flags = std::make_shared<Flags>();
  add_model_flag(*app, flags->model);
  add_weights_flag(*app, flags->weights);
  add_adapter_flag(*app, flags->adapter_path);
  app->add_option("file",
                  flags->file,
                  "Lines of JSON with prompt or messages, and optional id, tools and options by "
                  "the names of the flags (max_tokens, temp, seed, stop, ...); - is standard input")
      ->required()
      ->type_name("FILE");
  app->add_option("-o,--output",
                  flags->output,
                  "Adds the answers to this file; lines that it has are skipped (default: standard "
                  "output)")
      ->type_name("FILE")
      ->group("Output");
  app->add_flag("--logprobs",
                flags->lines.logprobs,
                "With each answer: its tokens and the log-probability of each")
      ->group("Output");
  app->add_option("--max-rows", flags->max_rows, "The most answers that are generated at once")
      ->capture_default_str()
      ->type_name("N")
      ->group("Limits");
  app->add_option("--memory-limit",
                  flags->memory_limit,
                  "The most that weights and caches may take, such as 8GB (default: what is free)")
      ->transform(CLI::AsSizeValue(true))
      ->type_name("SIZE")
      ->group("Limits");
  app->add_option("--prompt-cache-size",
                  flags->prompts.max_entries,
                  "How many earlier prompts are remembered, so that what others begin with is "
                  "computed once; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->type_name("N")
      ->group("Cache");
  app->add_option("--prompt-cache-bytes",
                  flags->prompts.max_bytes,
                  "The most that they may take, such as 1GB; they give way to answers (default: "
                  "what is free)")
      ->transform(CLI::AsSizeValue(true))
      ->type_name("SIZE")
      ->group("Cache");
  app->add_option("--system-prompt", flags->lines.system_prompt, "Of the lines that have a prompt")
      ->type_name("TEXT")
      ->group("Prompt");
  app->add_flag("--ignore-chat-template",
                flags->lines.ignore_chat_template,
                "Prompts are continued, not answered")
      ->group("Prompt");
  add_generation_flags(*app, flags->lines.flags);
  add_speculation_flags(*app, flags->speculation);
  add_chatter_flags(*app, flags->chatter, false);
  return {app, [flags] {
            flags->lines.cuts = flags->prompts.max_entries > 0;
            return run(*flags);
          }};
}

}  // namespace mlxcpp::apps
