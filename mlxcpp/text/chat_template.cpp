#include "mlxcpp/text/chat_template.h"

#include "mlxcpp/text/detail/bridge.h"

namespace mlxcpp::text {
namespace {

constexpr std::string_view kWhere = "chat template";

std::string accepted(const bridge::Rendered& rendered) {
  if (rendered.refused) throw InputError(describe(kWhere, std::string(rendered.text)));
  return std::string(rendered.text);
}

/// The caller's text for Rust, which takes only UTF-8.
rust::Str input(std::string_view name, std::string_view text) {
  return detail::call<InputError>(name, [&] { return detail::str(text); });
}

}  // namespace

struct ChatTemplate::Impl {
  rust::Box<bridge::RsChatTemplate> rs;
  std::string source;
};

ChatTemplate::ChatTemplate(std::string_view source)
    : impl_(detail::call(kWhere, [&] {
        return std::make_shared<const Impl>(
            Impl{bridge::chat_template(detail::str(source)), std::string(source)});
      })) {}

std::string ChatTemplate::render(std::string_view messages_json,
                                 const ChatOptions& options,
                                 const ChatModel& model) const {
  const bridge::ChatRequest request{
      .messages = input("messages", messages_json),
      .tools = input("tools", options.tools_json),
      .extra = input("extra", options.extra_json),
      .bos_token = input("bos_token", model.bos_token),
      .eos_token = input("eos_token", model.eos_token),
      .add_generation_prompt = options.add_generation_prompt,
      .continue_final_message = options.continue_final_message,
      .enable_thinking = model.enable_thinking,
  };
  return detail::call(kWhere, [&] { return accepted(impl_->rs->render_chat(request)); });
}

std::string ChatTemplate::render_context(std::string_view context_json) const {
  const rust::Str context = input("template context", context_json);
  return detail::call(kWhere, [&] { return accepted(impl_->rs->render(context)); });
}

const std::string& ChatTemplate::source() const { return impl_->source; }

}  // namespace mlxcpp::text
