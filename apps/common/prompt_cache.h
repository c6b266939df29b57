// --prompt-cache-file: a prompt, or its beginning, that was computed before.
#pragma once

#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/prompt_file.h"

#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace mlxcpp::apps {

struct GenerationFlags;

void add_prompt_cache_flag(CLI::App& app, std::string& file, const std::string& what);

/// The model to load: --model where it was given, else the one that the file names.  Throws
/// InputError when the two differ and the file does not say itself which model it is of, for
/// another adapter, and for flags that would make caches of another form.
std::string model_for_cache(const std::string& model,
                            const std::string& adapter,
                            const std::string& file,
                            const GenerationFlags& flags);

/// Ids of what follows in a user's message that the cache has begun, and of all after it.
std::vector<text::TokenId> encode_rest(const std::string& prompt,
                                       const text::Tokenizer& tokenizer,
                                       const text::ChatOptions& options,
                                       bool use_template);

/// The file's caches, and in `prompt` (the rest that follows) the ids of the whole.
std::shared_ptr<lm::CachedPrompt> load_before(const std::string& file,
                                              const lm::LanguageModel& model,
                                              std::vector<text::TokenId>& prompt);

}  // namespace mlxcpp::apps
