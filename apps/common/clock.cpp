#include "apps/common/clock.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace mlxcpp::apps {
namespace {

using Clock = std::chrono::steady_clock;

struct Start {
  Clock::time_point main;
  double before = 0;
};
Start& start() {
  static Start value;
  return value;
}

#ifdef __linux__
/// Field 22 of /proc/self/stat: ticks from boot to the start of this process.
double measured_before_main() {
  std::ifstream file("/proc/self/stat");
  std::string all{std::istreambuf_iterator<char>(file), {}};
  auto name_end = all.rfind(')');  // the name may hold blanks and parentheses
  if (name_end == all.npos) return 0;
  std::istringstream fields(all.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double ticks = 0;
  timespec now{};
  if (!(fields >> ticks) || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
  double boot_to_now = double(now.tv_sec) + double(now.tv_nsec) * 1e-9;
  return std::max(0.0, boot_to_now - ticks / double(sysconf(_SC_CLK_TCK)));
}
#else
double measured_before_main() { return 0; }
#endif

}  // namespace

void start_clock() { start() = {.main = Clock::now(), .before = measured_before_main()}; }

double seconds_before_main() { return start().before; }

double seconds_in_main() {
  return std::chrono::duration<double>(Clock::now() - start().main).count();
}

unsigned long long peak_process_memory() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#ifdef __APPLE__
  return static_cast<unsigned long long>(usage.ru_maxrss);
#else
  return static_cast<unsigned long long>(usage.ru_maxrss) * 1024;
#endif
}

}  // namespace mlxcpp::apps
