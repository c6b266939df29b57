#include "mlxcpp/io/hub.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/json.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <system_error>

namespace mlxcpp::io {
namespace {
namespace fs = std::filesystem;

constexpr std::size_t kMaxIdLength = 96;
constexpr std::size_t kRefLimit = 256;

fs::path home() {
  if (const char* home = std::getenv("HOME"); home && *home) return home;
  std::array<char, 4096> buffer;
  passwd entry;
  passwd* found = nullptr;
  if (::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &found) == 0 && found &&
      found->pw_dir && *found->pw_dir)
    return found->pw_dir;
  throw IoError("the home directory is unknown; try setting HOME or MLXCPP_HOME");
}

// A set and not empty variable, with a leading ~ as Python's expanduser reads it.
std::optional<fs::path> from_environment(const char* name) {
  const char* value = std::getenv(name);
  if (!value || !*value) return {};
  std::string_view text = value;
  if (text == "~") return home();
  if (text.starts_with("~/")) return home() / text.substr(2);
  return fs::path(text);
}

fs::path user_cache() {
  // The XDG rule: a relative path is not valid and is to be ignored.
  if (auto path = from_environment("XDG_CACHE_HOME"); path && path->is_absolute()) return *path;
  return home() / ".cache";
}

bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.';
}

bool is_edge_char(char c) { return is_word_char(c) && c != '-' && c != '.'; }

// A name that is safe as one part of a path.
bool is_safe_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxIdLength && std::ranges::all_of(text, is_word_char) &&
         is_edge_char(text.front()) && is_edge_char(text.back()) && text.find("..") == text.npos &&
         text.find("--") == text.npos;
}

// Branches and pull requests have slashes: "refs/pr/3".
bool is_revision(std::string_view text) {
  for (;;) {
    auto slash = text.find('/');
    std::string_view part = text.substr(0, slash);
    if (part.empty() || part.size() > kMaxIdLength || part.front() == '.' ||
        !std::ranges::all_of(part, is_word_char))
      return false;
    if (slash == text.npos) return true;
    text.remove_prefix(slash + 1);
  }
}

void require_repo_id(std::string_view id) {
  if (!is_repo_id(id))
    throw InputError(
        describe("model", "bad name", "org/name", dump_string(id.substr(0, kMaxIdLength))));
}

std::string joined(std::string_view repo_id) {
  std::string name(repo_id);
  if (auto slash = name.find('/'); slash != name.npos) name.replace(slash, 1, "--");
  return name;
}

std::optional<fs::path> if_directory(fs::path path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return {};
  return path;
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

}  // namespace

bool is_repo_id(std::string_view text) {
  if (text.size() > kMaxIdLength || text.ends_with(".git")) return false;
  auto slash = text.find('/');
  if (slash == text.npos) return is_safe_name(text);
  return is_safe_name(text.substr(0, slash)) && is_safe_name(text.substr(slash + 1));
}

fs::path hub_cache_directory() {
  if (auto path = from_environment("HF_HUB_CACHE")) return *path;
  if (auto path = from_environment("HUGGINGFACE_HUB_CACHE")) return *path;
  if (auto path = from_environment("HF_HOME")) return *path / "hub";
  return user_cache() / "huggingface" / "hub";
}

std::optional<fs::path> find_in_hub_cache(std::string_view repo_id, std::string_view revision) {
  require_repo_id(repo_id);
  if (!is_revision(revision))
    throw InputError(describe("revision",
                              "bad name",
                              "a branch, tag or commit",
                              dump_string(revision.substr(0, kMaxIdLength))));
  fs::path repo = hub_cache_directory() / ("models--" + joined(repo_id));
  // A branch or tag is a file that holds the commit; a commit is the snapshot's own name.
  if (fs::path ref = repo / "refs" / revision; is_file(ref)) {
    std::string commit = read_text(ref, kRefLimit);
    while (commit.ends_with('\n') || commit.ends_with('\r')) commit.pop_back();
    if (!is_safe_name(commit))
      throw IoError(describe(ref.string(),
                             "not a reference",
                             "a commit",
                             dump_string(commit.substr(0, kMaxIdLength))));
    return if_directory(repo / "snapshots" / commit);
  }
  if (!is_safe_name(revision)) return {};
  return if_directory(repo / "snapshots" / revision);
}

fs::path cache_directory() {
  if (auto path = from_environment("MLXCPP_HOME")) return *path;
  return user_cache() / "mlxcpp";
}

std::optional<fs::path> find_in_own_cache(std::string_view repo_id) {
  require_repo_id(repo_id);
  return if_directory(cache_directory() / "models" / joined(repo_id));
}

fs::path default_model_path() {
  return cache_directory() / "models" / "SmolLM2-135M-Instruct-Q4_1.gguf";
}

}  // namespace mlxcpp::io
