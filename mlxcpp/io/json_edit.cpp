#include "mlxcpp/io/json_edit.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/detail/json_tree.h"

#include <utility>

namespace mlxcpp::io {
namespace {
using nlohmann::json;

/// Numbers that are not finite, in mlx-lm's form.
void tag_non_finite(json& value) {
  if (value.is_string()) {
    auto& text = value.get_ref<const std::string&>();
    const char* name = text == detail::kInfinity        ? "Infinity"
                       : text == detail::kMinusInfinity ? "-Infinity"
                       : text == detail::kNan           ? "NaN"
                                                        : nullptr;
    if (name) value = json{{"__float__", name}};
    return;
  }
  if (value.is_structured())
    for (auto& item : value) tag_non_finite(item);
}

}  // namespace

struct JsonEdit::Impl {
  json root;
};

JsonEdit::JsonEdit(std::string_view text, const std::string& label)
    : impl_(std::make_shared<Impl>()) {
  auto tree = detail::parse_json(text, label);
  if (tree.has_non_finite) tag_non_finite(tree.root);
  if (!tree.root.is_object()) throw ConfigError(describe(label, "not a JSON object"));
  impl_->root = std::move(tree.root);
}

bool JsonEdit::has(std::string_view key) const { return impl_->root.contains(key); }

std::optional<std::string> JsonEdit::get(std::string_view key) const {
  auto it = impl_->root.find(key);
  return it == impl_->root.end() ? std::nullopt : std::optional(it->dump());
}

void JsonEdit::remove(std::string_view key) { impl_->root.erase(std::string(key)); }

void JsonEdit::set(std::string_view key, std::string_view value) {
  impl_->root[std::string(key)] = detail::parse_json(value, std::string(key)).root;
}

std::string JsonEdit::text() const {
  return impl_->root.dump(4, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
}

}  // namespace mlxcpp::io
