// `mlxcpp chat`: a conversation in the terminal, or line by line from standard input.
#include "apps/common/chatter.h"
#include "apps/common/edge.h"
#include "apps/common/generation.h"
#include "apps/common/interrupt.h"
#include "apps/common/line_reader.h"
#include "apps/common/model.h"
#include "apps/common/output.h"
#include "apps/common/progress.h"
#include "apps/common/prompt_cache.h"
#include "apps/common/reasoning.h"
#include "apps/common/speculation.h"
#include "apps/verbs.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/hub.h"
#include "mlxcpp/io/utf8.h"
#include "mlxcpp/lm/session.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>

namespace mlxcpp::apps {
namespace {

constexpr std::size_t kSessionLimit = std::size_t{64} << 20;
constexpr const char* kHelp =
    "/system TEXT  set the system message (without TEXT: show it)\n"
    "/reset        forget the conversation\n"
    "/save FILE    write the conversation\n"
    "/load FILE    go on with a written one\n"
    "/cache FILE   write what was computed of it, for --prompt-cache-file\n"
    "/exit         leave, as Ctrl-D does\n"
    "A line that ends with \\ goes on in the next one. Ctrl-C stops an answer.\n";

struct Flags {
  std::string model, adapter_path, system_prompt, resume, cache_file;
  nn::Residency weights = nn::Residency::automatic;
  GenerationFlags generation;
  SpeculationFlags speculation;
  Chatter chatter;
};

class Chat {
 public:
  Chat(lm::ModelContext context, lm::SessionOptions options, const Flags& flags)
      : chatter_(flags.chatter),
        thinking_(context.tokenizer().thinking()),
        model_(context.shared_model()),
        model_name_(flags.model.empty() ? find_model("").string() : flags.model),
        adapter_(flags.adapter_path),
        reader_(io::cache_directory() / "chat_history"),
        session_(std::move(context), std::move(options)) {
    session_.options().prefill_progress = [this](int done, int total) {
      if (bar_) bar_->update(std::uint64_t(done), std::uint64_t(total));
      if (done >= total) bar_.reset();  // its line is gone before the answer begins
      return !interrupted();
    };
    if (!flags.resume.empty()) load(flags.resume);
  }
  Chat(const Chat&) = delete;

  int run() {
    if (reader_.interactive()) note("Type a message, or /help.\n");
    while (auto line = read_message()) {
      // A person can go on after an error; a script wants to know.
      if (!reader_.interactive()) {
        if (!handle(*line)) break;
        continue;
      }
      watch_interrupts();
      try {
        if (!handle(*line)) break;
      } catch (const std::exception&) {
        report_current_error(false);
      }
    }
    return kExitDone;
  }

 private:
  /// Lines that end with a backslash are joined with the next.
  std::optional<std::string> read_message() {
    std::string message;
    for (bool first = true;; first = false) {
      auto line = reader_.read(first ? "> " : "\u2026 ");
      if (!line) {
        if (reader_.interactive()) print("\n");
        if (message.empty()) return {};
        return message;
      }
      bool more = line->ends_with('\\');
      if (more) line->back() = '\n';
      message += *line;
      if (!more) return message;
    }
  }

  /// False: leave.
  bool handle(const std::string& message) {
    auto begin = message.find_first_not_of(" \t\r\n");
    if (begin == message.npos) return true;
    if (message[begin] == '/') return command(message.substr(begin));
    answer(message);
    return true;
  }

  bool command(const std::string& line) {
    auto blank = line.find_first_of(" \t");
    std::string name = line.substr(0, blank);
    auto begin = line.find_first_not_of(" \t", blank);
    std::string argument = blank == line.npos || begin == line.npos ? "" : line.substr(begin);
    argument.erase(argument.find_last_not_of(" \t") + 1);
    if (name == "/exit" || name == "/quit") return false;
    if (name == "/help")
      note(kHelp);
    else if (name == "/reset")
      session_.reset();
    else if (name == "/system" && argument.empty())
      note(session_.system().empty() ? "(none)\n" : session_.system() + "\n");
    else if (name == "/system")
      session_.set_system(argument);
    else if ((name == "/save" || name == "/load" || name == "/cache") && argument.empty())
      throw InputError(describe(name, "no file named", name + " FILE"));
    else if (name == "/save")
      io::write_atomically(argument, session_.to_json() + "\n");
    else if (name == "/load")
      load(argument);
    else if (name == "/cache")
      save_cache(argument);
    else
      throw InputError(describe(name, "unknown command", {}, {}, "/help"));
    return true;
  }

  void save_cache(const std::string& file) {
    lm::PromptFileInfo info{.model = model_name_, .tokenizer_config = "{}"};
    if (!adapter_.empty()) info.adapter = adapter_;
    lm::save_prompt(file, *model_, session_.cache(), info);
  }

  void load(const std::string& file) {
    session_.restore(io::read_text(file, kSessionLimit));
    if (reader_.interactive())
      note(fmt::format("({} messages from {})\n", session_.messages().size(), file));
  }

  void answer(const std::string& message) {
    if (!io::is_utf8(message)) throw InputError(describe("message", "not UTF-8"));
    bar_.emplace("Prompt", ProgressBar::Unit::tokens, chatter_.progress());
    CancelOnInterrupt guard(session_);
    session_.ask(message);
    ReasoningSplitter splitter(thinking_ ? thinking_->start : "", thinking_ ? thinking_->end : "");
    bool at_line_start = true;
    std::optional<lm::Event> last;
    auto show = [&](const std::vector<ReasoningSplitter::Piece>& pieces) {
      for (auto& piece : pieces) {
        at_line_start = piece.text.ends_with('\n');
        bool dim = piece.reasoning && output_is_terminal();
        print(dim ? "\033[2m" + piece.text + "\033[0m" : piece.text);
      }
    };
    while (auto event = session_.next()) {
      show(splitter.push(event->text));
      last = std::move(event);
    }
    bar_.reset();
    show(splitter.finish());
    if (!at_line_start || !last) print("\n");
    if (last) after(*last);
  }

  void after(const lm::Event& last) {
    if (last.stop == lm::StopReason::cancelled) {
      if (!reader_.interactive()) throw Interrupted{};
      note("(stopped)\n");
    }
    if (last.stop == lm::StopReason::context && !chatter_.quiet)
      note(
          "mlxcpp: warning: the answer was cut, since the model's context is full; /reset frees "
          "it\n");
    if (chatter_.verbose)
      note(
          fmt::format("({} tokens, {:.1f} tokens/s; prompt {} tokens, {} of them from the cache)\n",
                      last.stats.generation_tokens,
                      last.stats.generation_tps(),
                      last.stats.prompt_tokens,
                      last.stats.cached_tokens));
  }

  Chatter chatter_;
  std::optional<text::ThinkingMarkers> thinking_;
  std::shared_ptr<const lm::LanguageModel> model_;
  std::string model_name_, adapter_;
  LineReader reader_;
  std::optional<ProgressBar> bar_;  // of the prompt that is being read
  lm::ChatSession session_;
};

/// What an earlier chat had computed; which of it can be used is seen from its tokens.
std::shared_ptr<lm::CachedPrompt> earlier(const std::string& file, const lm::LanguageModel& model) {
  if (file.empty()) return {};
  auto loaded = lm::load_prompt(file, model);
  if (!loaded.info.ids)
    throw InputError(describe(
        file, "does not say which tokens it holds", "a file that /cache or cache-prompt wrote"));
  return loaded.prompt;
}

int run(Flags flags) {
  flags.chatter.attach_log();
  check(flags.generation);
  flags.model =
      model_for_cache(flags.model, flags.adapter_path, flags.cache_file, flags.generation);
  auto context = load_model(
      flags.model, flags.chatter, flags.weights, flags.adapter_path, flags.speculation.mtp);
  lm::SessionOptions options{
      .system = flags.system_prompt,
      .generate =
          make_options(flags.generation, context.generation_defaults(), context.tokenizer()),
      .template_json = flags.generation.template_config,
      .cache = earlier(flags.cache_file, context.model())};
  options.generate.speculation =
      make_speculation_options(flags.speculation, context, flags.chatter);
  return Chat(std::move(context), std::move(options), flags).run();
}

}  // namespace

Verb add_chat(CLI::App& command) {
  auto* app = command.add_subcommand("chat", "Talk with a model");
  auto flags = std::make_shared<Flags>();
  add_model_flag(*app, flags->model);
  add_weights_flag(*app, flags->weights);
  add_adapter_flag(*app, flags->adapter_path);
  app->add_option("--system-prompt", flags->system_prompt, "How the model shall behave")
      ->type_name("TEXT")
      ->group("Prompt");
  app->add_option("--resume", flags->resume, "Go on with a conversation that /save wrote")
      ->type_name("FILE")
      ->group("Prompt");
  add_prompt_cache_flag(*app,
                        flags->cache_file,
                        "What /cache or cache-prompt wrote: what it holds of the conversation is "
                        "not computed again");
  add_generation_flags(*app, flags->generation);
  add_speculation_flags(*app, flags->speculation);
  add_chatter_flags(*app, flags->chatter, /*json=*/false);
  return {app, [flags] { return run(*flags); }};
}

}  // namespace mlxcpp::apps
