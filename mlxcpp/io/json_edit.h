// Changes of a JSON object as text: a config that is read, changed in some keys and written again.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace mlxcpp::io {

class JsonEdit {
 public:
  /// `label` opens messages.  Throws ConfigError as Fields::parse does.
  explicit JsonEdit(std::string_view text, const std::string& label = "config");

  bool has(std::string_view key) const;
  std::optional<std::string> get(std::string_view key) const;  ///< as JSON text
  void remove(std::string_view key);
  void set(std::string_view key, std::string_view json);
  /// As mlx-lm writes configs: keys sorted, indented by 4; numbers that are not finite as
  /// {"__float__": "Infinity"}.
  std::string text() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace mlxcpp::io
