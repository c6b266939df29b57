// What the CPU can do, and which kernels run on it.
#pragma once

#include <string>

namespace mlxcpp::apps {

/// Lines for people, or a JSON object.  Measures for some tenths of a second.
std::string cpu_report(bool json);

}  // namespace mlxcpp::apps
