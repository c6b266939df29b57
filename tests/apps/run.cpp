#include "tests/apps/run.h"

#include "mlxcpp/io/file.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <stdexcept>

extern char** environ;

namespace mlxcpp::test {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void close_if_open(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (auto& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> environment(const std::map<std::string, std::string>& changes) {
  std::vector<std::string> env;
  for (char** e = environ; *e; ++e) {
    std::string entry = *e;
    if (!changes.count(entry.substr(0, entry.find('=')))) env.push_back(entry);
  }
  for (auto& [name, value] : changes) env.push_back(name + "=" + value);
  return env;
}

/// Appends what is there; false at the end.
bool read_into(int fd, std::string& text) {
  char buffer[4096];
  ssize_t n = ::read(fd, buffer, sizeof buffer);
  if (n > 0) text.append(buffer, std::size_t(n));
  return n > 0 || (n < 0 && errno == EINTR);
}

}  // namespace

Running::Running(const Args& args, const Around& around) : unsent_(around.input) {
  ::signal(SIGPIPE, SIG_IGN);
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
    throw std::runtime_error("no pipes");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  if (around.output.empty())
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  else if (around.output == "closed")
    posix_spawn_file_actions_addclose(&actions, 1);
  else
    posix_spawn_file_actions_addopen(&actions, 1, around.output.c_str(), O_WRONLY, 0);
  // The command ignores SIGPIPE by itself: it is to start as from a shell.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  sigaddset(&defaults, SIGINT);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> words = args, env = environment(around.env);
  if (words.at(0).rfind('/', 0) != 0) words.insert(words.begin(), command());
  auto argv = pointers(words), envp = pointers(env);
  if (around.reader_leaves) close_if_open(out[0]);  // before the program can be done with writing
  int failed = posix_spawn(&pid_, argv[0], &actions, &attributes, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  ::close(in[0]), ::close(out[1]), ::close(err[1]);
  in_ = in[1], out_ = out[0], err_ = err[0];
  fcntl(in_, F_SETFL, O_NONBLOCK);
  if (failed) throw std::runtime_error(std::string(argv[0]) + ": " + std::strerror(failed));
}

Running::~Running() {
  close_if_open(in_), close_if_open(out_), close_if_open(err_);
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Running::send(const std::string& input) { unsent_ += input; }

void Running::signal(int number) { ::kill(pid_, number); }

bool Running::pump(double until) {
  pollfd fds[3] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}, {unsent_.empty() ? -1 : in_, POLLOUT, 0}};
  if (out_ < 0 && err_ < 0) return false;
  double left = until - now();
  if (left <= 0) return false;
  ::poll(fds, 3, int(left * 1000) + 1);
  if (fds[0].revents && !read_into(out_, so_far_.out)) close_if_open(out_);
  if (fds[1].revents && !read_into(err_, so_far_.err)) close_if_open(err_);
  if (fds[2].revents) {
    ssize_t n = ::write(in_, unsent_.data(), unsent_.size());
    if (n > 0) unsent_.erase(0, std::size_t(n));
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
      unsent_.clear();
      close_if_open(in_);
    }
  }
  return true;
}

bool Running::wait_for(const std::string& text, double seconds) {
  double until = now() + seconds;
  auto seen = [&] {
    return so_far_.out.find(text) != std::string::npos ||
           so_far_.err.find(text) != std::string::npos;
  };
  while (!seen())
    if (!pump(until)) return seen();
  return true;
}

Ran Running::finish(double seconds) {
  double until = now() + seconds;
  for (;;) {
    if (unsent_.empty()) close_if_open(in_);
    if (!pump(until)) break;
  }
  if (out_ >= 0 || err_ >= 0) ::kill(pid_, SIGKILL);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  so_far_.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return so_far_;
}

Ran run(const Args& args, const Around& around) { return Running(args, around).finish(); }

std::string command() { return MLXCPP_COMMAND; }

std::filesystem::path tiny_model() { return MLXCPP_TEST_DATA "/lm/llama_gguf_f32.gguf"; }

void write_tiny_model(const std::filesystem::path& to, unsigned context) {
  std::string bytes = io::read_bytes(tiny_model(), std::size_t{1} << 20);
  const std::string key = "llama.context_length";
  // After a key stand its type (4 bytes) and the number.
  std::memcpy(bytes.data() + bytes.find(key) + key.size() + 4, &context, sizeof context);
  io::write_atomically(to, bytes);
}

}  // namespace mlxcpp::test
