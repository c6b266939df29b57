// Tells what a model thinks from what it says, while the text arrives.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mlxcpp::apps {

class ReasoningSplitter {
 public:
  struct Piece {
    std::string text;
    bool reasoning;
    bool operator==(const Piece&) const = default;
  };

  /// Empty markers: everything is said.
  ReasoningSplitter(std::string start, std::string end)
      : start_(std::move(start)), end_(std::move(end)) {}

  /// What is certain now; markers belong to neither and are left out, also when they come in parts.
  std::vector<Piece> push(std::string_view text);
  /// What was held back.
  std::vector<Piece> finish();

 private:
  std::string start_, end_, pending_;
  bool reasoning_ = false;
};

}  // namespace mlxcpp::apps
