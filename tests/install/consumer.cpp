// What a project outside the tree does with mlxcpp: answers a question with a model, word by word.
#include <mlxcpp/builtin/models.h>

#include <exception>
#include <iostream>
#include <string>

int main(int argc, char** argv) try {
  if (argc != 3) return 2;
  auto model = mlxcpp::lm::ModelContext::load(
      mlxcpp::lm::ModelConfiguration::from_directory(argv[1]), mlxcpp::builtin_models());
  std::string messages = R"([{"role": "user", "content": ")" + std::string(argv[2]) + R"("}])";
  auto prompt = model.apply_chat_template_ids(messages);
  auto answer = model.stream_generate(prompt, {.max_tokens = 16});
  while (auto event = answer.next()) std::cout << event->text << std::flush;
  std::cout << '\n';
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
