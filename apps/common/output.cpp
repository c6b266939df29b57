#include "apps/common/output.h"

#include "apps/common/edge.h"
#include "apps/common/interrupt.h"
#include "mlxcpp/base/error.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace mlxcpp::apps {
namespace {

/// False when `fd` is closed or broken; errno says how.
bool write_some(int fd, std::string_view& text) {
  ssize_t n = ::write(fd, text.data(), text.size());
  if (n >= 0) {
    text.remove_prefix(std::size_t(n));
    return true;
  }
  if (errno == EAGAIN || errno == EWOULDBLOCK) {  // somebody made the pipe non-blocking
    pollfd wait{.fd = fd, .events = POLLOUT, .revents = 0};
    return ::poll(&wait, 1, -1) >= 0 || errno == EINTR;
  }
  return errno == EINTR;
}

/// Bytes of standard input that were read and not yet given out.
std::string& pending_input() {
  static std::string pending;
  return pending;
}

/// False at the end of input.
bool read_more() {
  char buffer[1 << 16];
  for (;;) {
    ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    throw_if_interrupted();
    if (n > 0) pending_input().append(buffer, std::size_t(n));
    if (n >= 0) return n > 0;
    if (errno != EINTR) throw IoError(describe("standard input", std::strerror(errno)));
  }
}

void require_below(std::size_t size, std::size_t limit) {
  if (size > limit)
    throw InputError(
        describe("standard input", "too long", "at most " + std::to_string(limit) + " bytes"));
}

}  // namespace

void prepare_standard_files() {
  // Read-only, so that a write to a standard output that was closed fails as it should.
  for (int fd = 0; fd <= 2;) {
    if (::fcntl(fd, F_GETFD) != -1 || errno != EBADF)
      ++fd;
    else if (::open("/dev/null", O_RDONLY) < 0)
      break;
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

void print(std::string_view text) {
  while (!text.empty()) {
    if (!write_some(STDOUT_FILENO, text)) {
      if (errno == EPIPE || errno == EBADF) throw OutputClosed{};
      throw IoError(describe("standard output", std::strerror(errno)));
    }
    if (!text.empty()) throw_if_interrupted();
  }
}

void note(std::string_view text) {
  while (!text.empty() && write_some(STDERR_FILENO, text)) {
  }
}

bool output_is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }
bool chatter_is_terminal() { return ::isatty(STDERR_FILENO) == 1; }
bool input_is_terminal() { return ::isatty(STDIN_FILENO) == 1; }

std::string read_input(std::size_t limit) {
  while (read_more()) require_below(pending_input().size(), limit);
  return std::exchange(pending_input(), {});
}

bool read_input_line(std::string& line, std::size_t limit) {
  std::string& pending = pending_input();
  std::size_t end;
  while ((end = pending.find('\n')) == pending.npos) {
    require_below(pending.size(), limit);
    if (read_more()) continue;
    if (pending.empty()) return false;
    line = std::exchange(pending, {});
    return true;
  }
  line = pending.substr(0, end);
  pending.erase(0, end + 1);
  return true;
}

}  // namespace mlxcpp::apps
