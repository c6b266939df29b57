// Stop strings on streamed text: finds them although they arrive in pieces, and holds text back
// only while it may still become one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::text {

/// Feeds on pieces of UTF-8 text.  After each piece the whole text so far is judged: of the stop
/// strings in it the one that starts first wins (same start: the caller's order), and the text ends
/// where it starts.  Empty stop strings are ignored; with none left, pieces pass through unchanged.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops = {});

  /// The text that can be shown now.  Once a stop string was found the result is always empty.
  std::string push(std::string_view piece);

  /// Ends the text: what was still held back, since nothing more can complete a stop string.
  std::string finish();

  /// The stop string that was found.
  const std::optional<std::string>& found() const { return found_; }

 private:
  bool cut_at_stop();
  std::size_t held_back() const;

  std::vector<std::string> stops_;
  std::string pending_;  // the tail that was not given out yet
  std::optional<std::string> found_;
};

}  // namespace mlxcpp::text
