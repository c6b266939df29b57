// The library never prints.  What it has to say beside results goes to a sink that the program
// injects.
#pragma once

#include <functional>
#include <string_view>

namespace mlxcpp {

enum class LogLevel { debug, info, warning };
using LogSink = std::function<void(LogLevel, std::string_view)>;

/// Replaces the process-wide sink; an empty one (the start) drops everything.  Thread-safe.
void set_log_sink(LogSink sink);
void log(LogLevel level, std::string_view message);

}  // namespace mlxcpp
