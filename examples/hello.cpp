#include <mlxcpp/builtin/models.h>
#include <mlxcpp/text/messages.h>

#include <iostream>

int main(int argc, char** argv) {
  using namespace mlxcpp;
  if (argc != 3) return std::cerr << "usage: hello MODEL PROMPT\n", 2;
  auto where = lm::ModelConfiguration::from_directory(argv[1]);  // or a .gguf file
  auto model = lm::ModelContext::load(where, builtin_models());
  text::ChatMessage message{.role = "user", .content = argv[2]};
  auto stream = model.stream_generate(model.apply_chat_template_ids(text::to_json({&message, 1})));
  while (auto event = stream.next()) std::cout << event->text << std::flush;
  std::cout << "\n";
}
