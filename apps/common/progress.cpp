#include "apps/common/progress.h"

#include "apps/common/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace mlxcpp::apps {
namespace {

using namespace std::chrono_literals;
constexpr auto kPatience = 250ms;  // shorter work needs no bar
constexpr auto kRefresh = 60ms;
constexpr int kWidth = 24;

}  // namespace

std::string human_bytes(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double n = double(bytes);
  std::size_t unit = 0;
  while (n >= 999.95 && unit + 1 < std::size(kUnits)) n /= 1000, ++unit;
  return fmt::format("{:.{}f} {}", n, unit == 0 ? 0 : 1, kUnits[unit]);
}

std::string progress_line(const std::string& label,
                          ProgressBar::Unit unit,
                          std::uint64_t done,
                          std::uint64_t total) {
  double part = total == 0 ? 1 : std::min(1.0, double(done) / double(total));
  int filled = int(part * kWidth);
  std::string amount =
      unit == ProgressBar::Unit::bytes
          ? human_bytes(done) + " / " + human_bytes(total)
          : fmt::format(
                "{} / {} {}", done, total, unit == ProgressBar::Unit::tokens ? "tokens" : "lines");
  return fmt::format("{} [{:#<{}}{:-<{}}] {:3}%  {}",
                     label,
                     "",
                     filled,
                     "",
                     kWidth - filled,
                     int(part * 100),
                     amount);
}

ProgressBar::ProgressBar(std::string label, Unit unit, bool enabled)
    : label_(std::move(label)), unit_(unit), enabled_(enabled), next_(Clock::now() + kPatience) {}

ProgressBar::~ProgressBar() {
  if (drawn_) note("\r\033[K");
}

void ProgressBar::update(std::uint64_t done, std::uint64_t total) {
  if (!enabled_ || Clock::now() < next_) return;
  next_ = Clock::now() + kRefresh;
  drawn_ = true;
  note("\r" + progress_line(label_, unit_, done, total) + "\033[K");
}

}  // namespace mlxcpp::apps
