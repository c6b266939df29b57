// `mlxcpp bench`: which tests are run, what they are compared with, and how they are told.
#include "apps/bench/cases.h"
#include "apps/bench/limits.h"
#include "apps/bench/plot.h"
#include "apps/bench/report.h"
#include "apps/bench/work.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/builtin/models.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/lm/factory.h"
#include "tests/apps/run.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

namespace mlxcpp::test {
namespace {

using namespace apps::bench;

bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

template <class T>
T read(io::Fields fields, const char* key) {
  T value{};
  fields.need(key, &value);
  return value;
}

/// A short run on the small model, but for what `more` says.
Args bench(const Args& more) {
  Args args = {"bench", "--model", tiny_model().string()};
  for (auto& usual : std::vector<Args>{{"-p", "8"}, {"-n", "4"}, {"-r", "2"}})
    if (std::find(more.begin(), more.end(), usual[0]) == more.end())
      args.insert(args.end(), usual.begin(), usual.end());
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  for (std::size_t at = 0, end; (end = text.find('\n', at)) != text.npos; at = end + 1)
    all.push_back(text.substr(at, end - at));
  return all;
}

// --- Which tests --------------------------------------------------------------------------------

TEST(BenchCases, are_all_combinations_by_depth_with_prompts_in_one_row) {
  auto cases = make_cases(
      {.prompt = "32,512", .generate = "128", .depth = "2048,0", .batch = "1,4", .threads = "1,2"},
      8);
  std::vector<std::string> found;
  for (auto& c : cases)
    found.push_back(c.test() + "@" + std::to_string(c.depth) + "x" + std::to_string(c.batch) + "t" +
                    std::to_string(c.threads));
  std::vector<std::string> expected;
  for (std::string depth : {"@0", "@2048"})
    for (std::string threads : {"t1", "t2"})
      for (std::string test : {"pp32", "pp512", "tg128", "tg128x4"}) {
        bool four = has(test, "x4");
        expected.push_back(test.substr(0, test.find('x')) + depth + (four ? "x4" : "x1") + threads);
      }
  EXPECT_EQ(found, expected);
}

TEST(BenchCases, of_zero_tokens_are_left_out) {
  auto cases = make_cases({.prompt = "0", .generate = "0,1"}, 3);
  ASSERT_EQ(cases.size(), 1u);
  EXPECT_EQ(cases[0], (Case{.prefill = false, .tokens = 1, .threads = 3}));
}

TEST(BenchFlags, that_make_no_sense_are_refused_by_name) {
  struct Bad {
    Args flags;
    const char* parts[2];
  };
  for (auto& [flags, parts] :
       std::vector<Bad>{{{"-p", "x"}, {"--prompt", "'x'"}},
                        {{"-p", "2000000"}, {"--prompt", "2000000"}},
                        {{"-n", "-3"}, {"--generate", "-3"}},
                        {{"-p", "0", "-n", "0"}, {"nothing to do", "above 0"}},
                        {{"-d", "1,,2"}, {"--depth", "1,,2"}},
                        {{"-b", "0"}, {"--batch", "from 1"}},
                        {{"-b", "5000"}, {"--batch", "5000"}},
                        {{"--threads", "0"}, {"--threads", "from 1"}},
                        {{"--threads", "1000000000"}, {"--threads", "1000000000"}},
                        {{"-r", "0"}, {"--trials", "found 0"}},
                        {{"--chunk", "0"}, {"--chunk", "found 0"}},
                        // The model's context is 128.
                        {{"-p", "129"}, {"--prompt", "at most 128"}},
                        {{"-d", "126"}, {"beyond the model's context", "126 + 8"}},
                        {{"-p", "0", "-d", "126"}, {"--generate", "126 + 4"}}}) {
    Ran ran = run(bench(flags));
    EXPECT_EQ(ran.code, 2) << ran.err;
    EXPECT_EQ(ran.out, "");
    for (auto* part : parts) EXPECT_TRUE(has(ran.err, part)) << part << "\n" << ran.err;
  }
  EXPECT_EQ(run(bench({"--plot", "no/such/folder/x.svg"})).code, 5);
}

// --- What it is compared with -------------------------------------------------------------------

// tools/oracle made both: width 32, 4 heads and 2 key heads of 8, an MLP of 64, 288 tokens.
constexpr double kHead = 288 * 32, kProducts = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32;
constexpr double kToken = 2 * 8 * 2 * 4;  // keys and values of one layer, float32

Workload workload(const std::string& model) {
  auto where = lm::ModelConfiguration::from_directory(model);
  return Workload(*lm::load_model(where, builtin_models()), 4, 0);
}

TEST(BenchWork, of_a_tied_model_reads_its_table_once_and_multiplies_with_it) {
  auto load = workload(tiny_model().string());  // one layer
  const double weights = 4 * (kHead + kProducts + 3 * 32);
  EXPECT_EQ(load.read_by_pass(1), weights);
  auto one = load.of({.prefill = false, .tokens = 2, .depth = 10}, 512);
  EXPECT_EQ(one.bytes, 2 * weights + (11 + 12) * kToken);
  EXPECT_EQ(one.products, 2 * (kHead + kProducts) + 4 * 16 * (11 + 12));
  auto three = load.of({.prefill = false, .tokens = 1, .depth = 10, .batch = 3}, 512);
  EXPECT_EQ(three.bytes, weights + 3 * 11 * kToken);
  EXPECT_EQ(three.products, 3 * (kHead + kProducts + 4 * 16 * 11));
}

TEST(BenchWork, of_a_prompt_reads_the_weights_in_each_pass_and_makes_logits_once) {
  auto load = workload(tiny_model().string());
  const double weights = 4 * (kHead + kProducts + 3 * 32);
  auto work = load.of({.prefill = true, .tokens = 5, .depth = 2}, 4);
  EXPECT_EQ(work.bytes, 2 * weights + (6 + 7) * kToken);
  // Of the one layer the first four tokens need keys and values only.
  EXPECT_EQ(work.products, 5 * 2 * 16 * 32 + (kProducts - 2 * 16 * 32) + kHead + 4 * 16 * 7);
}

TEST(BenchWork, of_a_prompt_leaves_out_what_only_its_last_token_needs_of_the_last_layer) {
  auto work = workload(MLXCPP_TEST_DATA "/lm/llama_gguf_q4_0.gguf")
                  .of({.prefill = true, .tokens = 3}, 512);  // two layers
  const double whole = 3 * kProducts + 4 * 16 * (1 + 2 + 3), kv = 2 * 16 * 32;
  EXPECT_EQ(work.products, whole + kHead + 3 * kv + (kProducts - kv) + 4 * 16 * 3);
}

TEST(BenchWork, does_not_count_a_table_that_is_only_looked_up) {
  // Two layers and a head of its own; in memory a block is what it is in the file, or more.
  auto load = workload(MLXCPP_TEST_DATA "/lm/llama_gguf_q4_0.gguf");
  auto work = load.of({.prefill = false, .tokens = 1}, 512);
  EXPECT_EQ(work.products, kHead + 2 * kProducts + 2 * 4 * 16);
  EXPECT_LT(load.read_by_pass(1), double(load.weight_bytes()));
  EXPECT_GT(load.read_by_pass(1), 18. / 32 * (kHead + 2 * kProducts));
}

TEST(BenchLimits, are_rates_that_a_machine_can_have) {
  Peaks peaks = measure_peaks();
  EXPECT_GT(peaks.f32, 1e8);
  EXPECT_LT(peaks.f32, 1e15);
  EXPECT_GE(usable(peaks, false), usable(peaks, true));
  EXPECT_GE(usable(peaks, true), peaks.f32);
  EXPECT_GT(measure_reading(1 << 20), 1e8);
}

TEST(BenchPeaks, that_round_to_bfloat16_do_not_count_when_results_are_to_be_the_same) {
  Peaks peaks{.f32 = 10, .half = 20, .byte = 50, .tile_half = 300};
  EXPECT_EQ(usable(peaks, false), 300);
  EXPECT_EQ(usable(peaks, true), 25);
  EXPECT_EQ(usable({.f32 = 10}, true), 10);
}

// --- How it is told -----------------------------------------------------------------------------

TEST(BenchReport, has_the_median_and_both_ends) {
  Measured m{.what = {.prefill = false, .tokens = 10, .batch = 4}, .seconds = {4, 1, 2}};
  EXPECT_EQ(m.tokens_per_second().median, 20);
  EXPECT_EQ(m.tokens_per_second().min, 10);
  EXPECT_EQ(m.tokens_per_second().max, 40);
  EXPECT_EQ(spread({1, 4}).median, 2.5);
  m.work = {.bytes = 100, .products = 1000};
  m.read_rate = 200, m.multiply_rate = 4000;
  EXPECT_TRUE(m.read_bound());
  EXPECT_EQ(m.ratio_to_limit(), 4);
  m.multiply_rate = 1000;
  EXPECT_FALSE(m.read_bound());
  EXPECT_EQ(m.ratio_to_limit(), 2);
}

TEST(Bench, writes_an_object_a_line) {
  Ran ran = run(bench({"--json", "-d", "16", "-b", "1,2", "--threads", "1"}),
                {.env = {{"MLXCPP_DETERMINISTIC", "0"}}});
  ASSERT_EQ(ran.code, 0) << ran.err;
  auto found = lines(ran.out);
  ASSERT_EQ(found.size(), 3u);
  const char* const tests[] = {"pp8", "tg4", "tg4"};
  const int batches[] = {1, 1, 2};
  for (std::size_t i = 0; i < 3; ++i) {
    auto json = io::Fields::parse(found[i]);
    EXPECT_EQ(read<std::string>(json, "test"), tests[i]);
    EXPECT_EQ(read<int>(json, "batch"), batches[i]);
    EXPECT_EQ(read<int>(json, "depth"), 16);
    EXPECT_EQ(read<int>(json, "threads"), 1);
    EXPECT_EQ(read<int>(json, "trials"), 2);
    auto rate = json.need_object("tokens_per_second");
    double median = read<double>(rate, "median");
    EXPECT_GT(read<double>(rate, "min"), 0);
    EXPECT_LE(read<double>(rate, "min"), median);
    EXPECT_GE(read<double>(rate, "max"), median);
    EXPECT_GT(read<double>(json, "peak_rss_mb"), 1);
    double reading = read<double>(json, "bytes_read") / read<double>(json, "read_gb_per_s") / 1e9;
    double multiplying =
        read<double>(json, "multiply_adds") / read<double>(json, "gmac_per_s") / 1e9;
    EXPECT_EQ(read<std::string>(json, "limit"), reading >= multiplying ? "read" : "multiply");
    auto seconds = read<std::vector<float>>(json, "seconds");
    ASSERT_EQ(seconds.size(), 2u);
    double limit = std::max(reading, multiplying);
    EXPECT_NEAR(
        read<double>(json, "ratio_to_limit") * limit / ((seconds[0] + seconds[1]) / 2), 1, 1e-6);
    for (auto* key : {"load_s", "first_token_s"}) EXPECT_GT(read<double>(json, key), 0) << key;
    for (auto* key : {"model", "model_type", "cpu", "tier", "kernels"})
      EXPECT_NE(read<std::string>(json, key), "") << key;
    EXPECT_EQ(read<bool>(json, "eight_bit_activations"), false);
    EXPECT_EQ(read<bool>(json, "deterministic"), false);
  }
}

TEST(Bench, tells_when_the_switches_of_precision_are_not_as_usual) {
  Ran ran = run(bench({"--json", "-p", "0"}),
                {.env = {{"MLXCPP_DETERMINISTIC", "1"}, {"MLXCPP_OPS", "mlx"}}});
  ASSERT_EQ(ran.code, 0) << ran.err;
  auto json = io::Fields::parse(ran.out);
  EXPECT_EQ(read<bool>(json, "deterministic"), true);
  EXPECT_EQ(read<std::string>(json, "kernels"), "mlx");
}

TEST(Bench, prints_a_table_and_draws_it) {
  TempDir dir;
  auto file = dir.path() / "plot.svg";
  Ran ran = run(bench({"-d", "0,64", "--plot", file.string()}));
  ASSERT_EQ(ran.code, 0) << ran.err;
  for (auto* part : {"llama", "tokens/s", "pp8", "tg4", "time to limit", "8-bit"})
    EXPECT_TRUE(has(ran.out, part)) << part << "\n" << ran.out;
  std::string svg = io::read_text(file, std::size_t{1} << 20);
  EXPECT_TRUE(svg.starts_with("<svg ")) << svg;
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  for (auto* part : {"Prompt", "Decode", ">pp8<", ">tg4<", ">64<"})
    EXPECT_TRUE(has(svg, part)) << part;
}

TEST(BenchPlot, keeps_markup_out_of_names) {
  Surroundings about{.model = "a<b>&c", .cpu = "x"};
  Measured m{.what = {.tokens = 8}, .seconds = {1}};
  std::string svg = plot(about, {m});
  EXPECT_TRUE(has(svg, "a&lt;b>&amp;c")) << svg;
  EXPECT_FALSE(has(svg, "Decode"));
}

TEST(Bench, ends_at_ctrl_c_with_what_it_has) {
  Running bench({"bench", "--model", tiny_model().string(), "-r", "1000", "-n", "8", "-p", "8"});
  ASSERT_TRUE(bench.wait_for("tokens/s"));
  bench.signal(SIGINT);
  Ran ran = bench.finish(30);
  EXPECT_EQ(ran.code, 130) << ran.err;
}

}  // namespace
}  // namespace mlxcpp::test
