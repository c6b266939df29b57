// A progress bar on standard error, for work that takes long enough to wonder.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace mlxcpp::apps {

class ProgressBar {
 public:
  enum class Unit { bytes, tokens, lines };
  /// Not `enabled`: draws nothing.
  ProgressBar(std::string label, Unit unit, bool enabled);
  ~ProgressBar();  ///< wipes the line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(std::uint64_t done, std::uint64_t total);

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_;
  Unit unit_;
  bool enabled_, drawn_ = false;
  Clock::time_point next_;  // when the next picture is due
};

/// The line itself: "label [####----]  50%  1.0/2.0 GB".
std::string progress_line(const std::string& label,
                          ProgressBar::Unit unit,
                          std::uint64_t done,
                          std::uint64_t total);

/// "93.1 MB": decimal units, as disks and model pages have them.
std::string human_bytes(std::uint64_t bytes);

}  // namespace mlxcpp::apps
