// Chat templates: any source renders or throws one of our errors, within bounds of time and memory.
#include "mlxcpp/text/chat_template.h"

#include "mlxcpp/base/error.h"

#include <cstddef>
#include <cstdint>

namespace {

constexpr const char* kMessages = R"([
  {"role": "system", "content": "Be brief. "},
  {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
  {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [
    {"id": "call00001", "function": {"name": "f", "arguments": {"x": 1.5, "y": [null, true]}}}]},
  {"role": "tool", "content": "42", "tool_call_id": "call00001"},
  {"role": "assistant", "content": "It is 42."}])";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using mlxcpp::text::ChatOptions;
  try {
    const mlxcpp::text::ChatTemplate chat({reinterpret_cast<const char*>(data), size});
    const ChatOptions with_tools{.tools_json =
                                     R"([{"type": "function", "function": {"name": "f"}}])"};
    const ChatOptions continued{.add_generation_prompt = false, .continue_final_message = true};
    for (const ChatOptions& options : {with_tools, continued}) {
      try {
        chat.render(kMessages, options, {"<s>", "</s>", true});
      } catch (const mlxcpp::Error&) {
      }
    }
  } catch (const mlxcpp::TokenizerError&) {
  }
  return 0;
}
