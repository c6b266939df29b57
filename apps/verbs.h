// The verbs of the command: each adds its part of the command line and says how it is run.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace mlxcpp::apps {

struct Verb {
  CLI::App* app;             // its command line, below the command's own
  std::function<int()> run;  // after parsing; returns the exit code
};

Verb add_generate(CLI::App& command);
Verb add_chat(CLI::App& command);
Verb add_batch(CLI::App& command);
Verb add_cache_prompt(CLI::App& command);
Verb add_info(CLI::App& command);
Verb add_tokenize(CLI::App& command);
Verb add_models(CLI::App& command);
Verb add_logits(CLI::App& command);
Verb add_perplexity(CLI::App& command);
Verb add_fuse(CLI::App& command);
Verb add_bench(CLI::App& command);
Verb add_completion(CLI::App& command);

}  // namespace mlxcpp::apps
