#include "mlxcpp/base/log.h"

#include <memory>
#include <mutex>
#include <utility>

namespace mlxcpp {
namespace {

struct Sink {
  std::mutex mutex;
  std::shared_ptr<const LogSink> current;
};
Sink& sink() {
  static Sink s;
  return s;
}

}  // namespace

void set_log_sink(LogSink next) {
  auto shared = next ? std::make_shared<const LogSink>(std::move(next)) : nullptr;
  std::lock_guard lock(sink().mutex);
  sink().current = std::move(shared);
}

void log(LogLevel level, std::string_view message) {
  std::shared_ptr<const LogSink> current;
  {
    std::lock_guard lock(
        sink().mutex);  // the sink itself runs outside, so that it may log or replace
    current = sink().current;
  }
  if (current) (*current)(level, message);
}

}  // namespace mlxcpp
