// A conversation, line by line, with errors and statistics.
#include <mlxcpp/base/error.h>
#include <mlxcpp/builtin/models.h>
#include <mlxcpp/lm/session.h>

#include <iostream>
#include <string>

using namespace mlxcpp;

namespace {

int chat(const std::string& path) {
  auto where = lm::ModelConfiguration::from_directory(path);
  lm::SessionOptions options{.system = "You answer in one short sentence."};
  options.generate.max_tokens = 100;
  options.generate.sample.temperature = 0.7f;
  options.generate.sample.top_p = 0.9f;
  options.generate.seed = 7;
  lm::ChatSession session(lm::ModelContext::load(where, builtin_models()), options);

  for (std::string line; std::cout << "> " << std::flush && std::getline(std::cin, line);) {
    session.ask(line);
    lm::GenerateStats stats;
    while (auto event = session.next()) {
      std::cout << event->text << std::flush;
      stats = event->stats;
    }
    std::cout << "\n(" << stats.generation_tokens << " tokens, " << stats.cached_tokens
              << " of the prompt's " << stats.prompt_tokens << " were known)\n";
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: chat MODEL\n", 2;
  try {
    return chat(argv[1]);
  } catch (const Error& e) {  // what this library says; exit_code() is the command's table
    std::cerr << e.what() << "\n";
    return exit_code(e.kind());
  } catch (const std::exception& e) {  // MLX's own
    std::cerr << e.what() << "\n";
    return 1;
  }
}
