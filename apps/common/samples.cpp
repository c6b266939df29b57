#include "apps/common/samples.h"

#include "apps/common/interrupt.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/json.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <utility>

namespace mlxcpp::apps {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<text::TokenId>;

constexpr std::size_t kFileLimit = std::size_t{1} << 30;

void end_with_eos(Ids& ids, const text::Tokenizer& tokenizer) {
  if (auto eos = tokenizer.eos(); eos && (ids.empty() || ids.back() != *eos)) ids.push_back(*eos);
}

/// A data set: samples are turned into ids one by one.
class Samples {
 public:
  Samples(const fs::path& path, const text::Tokenizer& tokenizer) : tokenizer_(tokenizer) {
    std::error_code ignored;
    path_ = fs::is_directory(path, ignored) ? path / "train.jsonl" : path;
    text_ = io::read_text(path_, kFileLimit);
    if (path_.extension() != ".jsonl") {
      if (!text_.empty()) samples_.push_back({text_, 0});
      return;
    }
    std::string_view rest = text_;
    for (std::size_t line = 1; !rest.empty(); ++line) {
      auto end = std::min(rest.find('\n'), rest.size());
      auto sample = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (sample.find_first_not_of(" \t\r") != sample.npos) samples_.push_back({sample, line});
    }
  }

  std::size_t size() const { return samples_.size(); }
  const fs::path& path() const { return path_; }

  Ids ids(std::size_t i) const {
    auto& [text, line] = samples_[i];
    if (line == 0) {
      Ids ids = tokenizer_.encode(text);
      end_with_eos(ids, tokenizer_);
      return ids;
    }
    std::string where = path_.string() + ", line " + std::to_string(line);
    try {
      return of_line(io::Fields::parse(text, where));
    } catch (const ConfigError& e) {
      throw InputError(e.what());
    }
  }

 private:
  struct Sample {
    std::string_view text;
    std::size_t line;  // 0: of plain text
  };

  Ids of_line(io::Fields f) const {
    if (f.has("prompt") && f.has("completion")) {
      std::string prompt, completion;
      f.need("prompt", &prompt).need("completion", &completion);
      return of_chat(
          f,
          "[{\"role\": \"user\", \"content\": " + io::dump_string(prompt) +
              "}, {\"role\": \"assistant\", \"content\": " + io::dump_string(completion) + "}]");
    }
    if (auto messages = f.json_text("messages")) return of_chat(f, *messages);
    if (!f.has("text"))
      throw InputError(
          describe(f.where(), "no sample", "text, messages, or prompt and completion", "neither"));
    std::string text;
    f.need("text", &text);
    Ids ids = tokenizer_.encode(text);
    end_with_eos(ids, tokenizer_);
    return ids;
  }

  Ids of_chat(const io::Fields& f, const std::string& messages) const {
    if (!tokenizer_.has_chat_template())
      throw InputError(
          describe(f.where(), "a conversation", "a model with a chat template", "none"));
    return tokenizer_.apply_chat_template_ids(
        messages,
        {.tools_json = f.json_text("tools").value_or(""), .add_generation_prompt = false});
  }

  const text::Tokenizer& tokenizer_;
  fs::path path_;
  std::string text_;
  std::vector<Sample> samples_;
};

}  // namespace

std::vector<std::size_t> numpy_permutation(std::size_t n, std::uint32_t seed) {
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::mt19937 random(seed);
  for (std::size_t i = n; i-- > 1;) {
    std::uint32_t mask = std::uint32_t(i);  // a file has fewer lines than 2^32
    for (int shift : {1, 2, 4, 8, 16}) mask |= mask >> shift;
    std::uint32_t j = 0;
    do j = std::uint32_t(random()) & mask;
    while (j > i);
    std::swap(order[i], order[j]);
  }
  return order;
}

std::vector<Ids> load_samples(const fs::path& path,
                              const text::Tokenizer& tokenizer,
                              const SampleOptions& o) {
  Samples samples(path, tokenizer);
  std::size_t length = std::size_t(o.sequence_length), most = SIZE_MAX;
  if (o.num_samples > 0) most = std::size_t(o.num_samples);
  Ids all;
  for (std::size_t i : numpy_permutation(samples.size(), o.seed)) {
    if (all.size() / length >= most) break;
    throw_if_interrupted();
    Ids ids = samples.ids(i);
    all.insert(all.end(), ids.begin(), ids.end());
  }
  std::size_t count = std::min(all.size() / length, most);
  if (count == 0)
    throw InputError(describe(samples.path().string(),
                              "too short",
                              "at least " + std::to_string(length) + " tokens",
                              std::to_string(all.size()),
                              "a smaller --sequence-length"));
  std::vector<Ids> rows;
  for (std::size_t i = 0; i < count; ++i)
    rows.emplace_back(all.begin() + std::ptrdiff_t(i * length),
                      all.begin() + std::ptrdiff_t((i + 1) * length));
  return rows;
}

}  // namespace mlxcpp::apps
