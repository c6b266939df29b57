#include "apps/common/prompt_cache.h"

#include "apps/common/generation.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/text/messages.h"

#include <CLI/CLI.hpp>

#include <utility>

namespace mlxcpp::apps {

void add_prompt_cache_flag(CLI::App& app, std::string& file, const std::string& what) {
  app.add_option("--prompt-cache-file", file, what)->type_name("FILE")->group("Cache");
}

std::string model_for_cache(const std::string& model,
                            const std::string& adapter,
                            const std::string& file,
                            const GenerationFlags& flags) {
  if (file.empty()) return model;
  for (auto [given, name] : {std::pair{flags.max_kv_size.has_value(), "--max-kv-size"},
                             std::pair{!flags.kv_bits.empty(), "--kv-bits"}})
    if (given)
      throw InputError(
          describe(name, "has no effect on caches from a file", "no " + std::string(name)));
  auto info = lm::PromptFileInfo::of(lm::prompt_metadata(file));
  auto name = [](const std::string& path) { return path.empty() ? std::string("none") : path; };
  if (std::string had = info.adapter.value_or(""); info.fingerprint && had != adapter)
    throw InputError(describe("--adapter-path",
                              "another adapter than the prompt cache was computed with",
                              name(had),
                              name(adapter)));
  if (model.empty()) return info.model.value_or("");
  if (info.model && *info.model != model && !info.fingerprint)
    throw InputError(describe(file, "prompt cache of another model", *info.model, model));
  return model;
}

std::vector<text::TokenId> encode_rest(const std::string& prompt,
                                       const text::Tokenizer& tokenizer,
                                       const text::ChatOptions& options,
                                       bool use_template) {
  if (!use_template) return tokenizer.encode(prompt, false);
  auto render = [&](const std::string& content) {
    return tokenizer.apply_chat_template(
        text::to_json(std::vector<text::ChatMessage>{{.role = "user", .content = content}}),
        options);
  };
  constexpr const char* kMark = "<query>";
  std::string marked = render(kMark), whole = render(prompt);
  auto at = marked.find(kMark);
  if (at == marked.npos || whole.compare(0, at, marked, 0, at) != 0)
    throw InputError(describe("--prompt-cache-file",
                              "the chat template does not begin all messages alike",
                              "--ignore-chat-template"));
  return tokenizer.encode(whole.substr(at), false);
}

std::shared_ptr<lm::CachedPrompt> load_before(const std::string& file,
                                              const lm::LanguageModel& model,
                                              std::vector<text::TokenId>& prompt) {
  if (prompt.empty()) throw InputError(describe("--prompt", "nothing follows the cached prompt"));
  auto cached = lm::load_prompt(file, model, prompt.front()).prompt;
  prompt.insert(prompt.begin(), cached->ids.begin(), cached->ids.end());
  return cached;
}

}  // namespace mlxcpp::apps
