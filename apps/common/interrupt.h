// Ctrl-C: the first one asks the running work to stop, a second one ends the program.
#pragma once

namespace mlxcpp::apps {

/// Takes over SIGINT.  Again after an answer that was stopped: forgets that it was.
void watch_interrupts();
bool interrupted();
void throw_if_interrupted();  ///< Interrupted

/// While it lives, Ctrl-C calls target.cancel(), which must be safe in a signal handler.  One at a
/// time.
class CancelOnInterrupt {
 public:
  template <class Target>
  explicit CancelOnInterrupt(Target& target)
      : CancelOnInterrupt(&target, [](void* t) { static_cast<Target*>(t)->cancel(); }) {}
  ~CancelOnInterrupt();
  CancelOnInterrupt(const CancelOnInterrupt&) = delete;
  CancelOnInterrupt& operator=(const CancelOnInterrupt&) = delete;

 private:
  CancelOnInterrupt(void* target, void (*cancel)(void*));
};

}  // namespace mlxcpp::apps
