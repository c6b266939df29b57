// `mlxcpp bench`: how fast prompts are read and tokens decoded, beside what the machine could do.
#include "apps/bench/cases.h"
#include "apps/bench/limits.h"
#include "apps/bench/plot.h"
#include "apps/bench/report.h"
#include "apps/bench/runner.h"
#include "apps/bench/work.h"
#include "apps/common/chatter.h"
#include "apps/common/checkpoint_size.h"
#include "apps/common/clock.h"
#include "apps/common/edge.h"
#include "apps/common/interrupt.h"
#include "apps/common/model.h"
#include "apps/common/output.h"
#include "apps/common/progress.h"
#include "apps/verbs.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/ops/cpu/features.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::apps {
namespace {

using namespace bench;

constexpr int kFirstPrompt = 32, kMostTrials = 1000, kMostChunk = 1 << 16;

struct Flags {
  std::string model, plot;
  nn::Residency weights = nn::Residency::automatic;
  Lists lists;
  int trials = 5, chunk = 512;
  bool no_warmup = false;
  Chatter chatter;
};

void require_range(const char* flag, int value, int most) {
  if (value < 1 || value > most)
    throw InputError(describe(
        flag, "bad value", fmt::format("a number from 1 to {}", most), std::to_string(value)));
}

/// How many experts a token uses, by any of the names that configs have for it; 0: none said.
int experts_of(const std::string& config) {
  auto fields = io::Fields::parse(config);
  for (auto* key : {"num_experts_per_tok", "top_k_experts", "moe_topk", "num_experts_per_token"}) {
    std::optional<int> n;
    fields.may(key, &n);
    if (n) return *n;
  }
  return 0;
}

/// The kernels that run, with so many threads.
void use_threads(int threads) {
  auto settings = cpu::Settings::read();
  settings.threads = threads;
  if (cpu::machine().threads != threads) cpu::use(settings);
}

class Bench {
 public:
  explicit Bench(const Flags& flags)
      : flags_(flags), cases_(make_cases(flags.lists, cpu::machine().threads)) {
    auto path = find_model(flags.model);
    auto files = open_model(path);
    int context = files.config.config.max_position_embeddings.value_or(0);
    if (context > 0) require_context(cases_, context);
    about_.model =
        path.filename().empty() ? path.parent_path().filename().string() : path.filename().string();
    about_.model_type = files.config.config.model_type;
    about_.parameters = measure(files).parameters;
    heads_ = files.config.config.num_attention_heads.value_or(0);
    experts_ = experts_of(files.config.json);
  }

  int run() {
    load();
    if (!flags_.chatter.json) print(head(about_));
    std::vector<Measured> results;
    for (auto& c : cases_) {
      results.push_back(measure_case(c));
      print(flags_.chatter.json ? json_line(about_, results.back()) : row(results.back()));
    }
    if (!flags_.plot.empty()) io::write_atomically(flags_.plot, plot(about_, results));
    return kExitDone;
  }

 private:
  void load() {
    double before = seconds_in_main();
    auto context = load_model(flags_.model, flags_.chatter, flags_.weights);
    about_.load_s = seconds_in_main() - before;
    model_ = context.shared_model();
    work_.emplace(*model_, heads_, experts_);
    runner_.emplace(model_, flags_.chunk);
    Case first{.prefill = true, .tokens = kFirstPrompt, .threads = cpu::machine().threads};
    if (auto most = context.config().max_position_embeddings)
      first.tokens = std::min(first.tokens, *most);
    runner_->run(first, first.tokens);
    const auto& machine = cpu::machine();
    about_.first_token_s = seconds_before_main() + seconds_in_main();
    about_.first_prompt = first.tokens;
    about_.cpu = machine.cpu;
    about_.tier = std::string(cpu::name_of(machine.tier));
    about_.own_kernels = cpu::enabled();
    about_.deterministic = machine.deterministic;
    about_.weight_bytes = work_->weight_bytes();
    about_.chunk = flags_.chunk;
    about_.trials = flags_.trials;
  }

  /// Trials, and before each of them what the machine can do at this moment.
  Measured measure_case(const Case& c) {
    use_threads(c.threads);
    {
      ProgressBar bar("Depth", ProgressBar::Unit::tokens, flags_.chatter.progress());
      runner_->prepare(c, updating(bar));
    }
    if (!flags_.no_warmup) runner_->run(c, c.prefill ? c.tokens : 1);
    Measured m{.what = c, .work = work_->of(c, flags_.chunk)};
    auto touched =
        std::uint64_t(work_->read_by_pass(c.batch) + c.batch * work_->cache_bytes(c.depth));
    std::vector<double> reading, multiplying;
    for (int trial = 1; trial <= flags_.trials; ++trial) {
      throw_if_interrupted();
      reading.push_back(measure_reading(touched));
      multiplying.push_back(usable(measure_peaks(), about_.deterministic));
      std::string label =
          fmt::format("{} at {}, {} of {}", c.test(), c.depth, trial, flags_.trials);
      ProgressBar bar(label, ProgressBar::Unit::tokens, flags_.chatter.progress());
      forget_peak_memory();
      m.seconds.push_back(runner_->run(c, c.tokens, updating(bar)));
      m.peak_memory = std::max(m.peak_memory, peak_memory());
    }
    m.read_rate = spread(reading).median;
    m.multiply_rate = spread(multiplying).median;
    return m;
  }

  static Runner::Progress updating(ProgressBar& bar) {
    return [&bar](int done, int total) { bar.update(std::uint64_t(done), std::uint64_t(total)); };
  }

  const Flags& flags_;
  std::vector<Case> cases_;
  Surroundings about_;
  int heads_ = 0, experts_ = 0;
  std::shared_ptr<const lm::LanguageModel> model_;
  std::optional<Workload> work_;
  std::optional<Runner> runner_;
};

/// Now, not after hours.
void require_folder_of(const std::string& file) {
  auto folder = std::filesystem::path(file).parent_path();
  std::error_code ignored;
  if (!file.empty() && !folder.empty() && !std::filesystem::is_directory(folder, ignored))
    throw IoError(describe("--plot", "no such folder", "a file in one", folder.string()));
}

int run(const Flags& flags) {
  flags.chatter.attach_log();
  require_folder_of(flags.plot);
  require_range("--trials", flags.trials, kMostTrials);
  require_range("--chunk", flags.chunk, kMostChunk);
  return Bench(flags).run();
}

}  // namespace

Verb add_bench(CLI::App& command) {
  auto* app = command.add_subcommand(
      "bench", "Measure prompts and decoding, beside what the machine can do");
  auto flags = std::make_shared<Flags>();
  auto add_list = [&](const char* names, std::string& list, const char* help) {
    app->add_option(names, list, help)->capture_default_str()->type_name("N,N,...")->group("Tests");
  };
  add_model_flag(*app, flags->model);
  add_weights_flag(*app, flags->weights);
  add_list("-p,--prompt", flags->lists.prompt, "Tokens of a prompt (pp512); 0: none");
  add_list("-n,--generate", flags->lists.generate, "Tokens to decode (tg128); 0: none");
  add_list("-d,--depth", flags->lists.depth, "Tokens that the caches hold before a test begins");
  add_list("-b,--batch", flags->lists.batch, "Rows that are decoded in one pass");
  app->add_option("--threads",
                  flags->lists.threads,
                  "Threads of the kernels (default: as many as this process may use)")
      ->type_name("N,N,...")
      ->group("Tests");
  app->add_option("-r,--trials", flags->trials, "How often each test is run")
      ->capture_default_str()
      ->group("Tests");
  app->add_option("--chunk", flags->chunk, "Tokens of a prompt in one pass")
      ->capture_default_str()
      ->group("Tests");
  app->add_flag("--no-warmup", flags->no_warmup, "The first trial counts, too")->group("Tests");
  add_chatter_flags(*app, flags->chatter);
  app->add_option("--plot", flags->plot, "Draw tokens/s over depth into this SVG file")
      ->type_name("FILE")
      ->group("Output");
  app->footer(
      "GB/s and GMAC/s are what this machine reads and multiplies in the same run; `time to limit` "
      "is how many\ntimes longer a test takes than the reading or the multiplying that it can not "
      "do without.");
  return {app, [flags] { return run(*flags); }};
}

}  // namespace mlxcpp::apps
