// A mistake on purpose: one StopMatcher in two threads.  The thread sanitizer must say so.
#include "mlxcpp/text/stop.h"

#include <thread>

int main() {
  mlxcpp::text::StopMatcher shared({"stop"});
  auto misuse = [&shared] {
    for (int i = 0; i < 10000; ++i) shared.push("st");
  };
  std::thread other(misuse);
  misuse();
  other.join();
}
