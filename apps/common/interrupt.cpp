#include "apps/common/interrupt.h"

#include "apps/common/edge.h"

#include <atomic>
#include <csignal>

namespace mlxcpp::apps {
namespace {

// A handler has no other way to what it shall act on.
std::atomic<bool> was_interrupted = false;
std::atomic<void*> cancel_target = nullptr;
std::atomic<void (*)(void*)> cancel_call = nullptr;
static_assert(std::atomic<void*>::is_always_lock_free, "needed in a signal handler");

void on_interrupt(int) {
  was_interrupted = true;
  if (void* target = cancel_target) cancel_call.load()(target);
}

}  // namespace

void watch_interrupts() {
  was_interrupted = false;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  // Reset: the second one is the system's.  No restart: a blocked read or write notices.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return was_interrupted; }

void throw_if_interrupted() {
  if (interrupted()) throw Interrupted{};
}

CancelOnInterrupt::CancelOnInterrupt(void* target, void (*cancel)(void*)) {
  cancel_call = cancel;
  cancel_target = target;
  if (interrupted()) cancel(target);  // it came before there was something to cancel
}

CancelOnInterrupt::~CancelOnInterrupt() { cancel_target = nullptr; }

}  // namespace mlxcpp::apps
