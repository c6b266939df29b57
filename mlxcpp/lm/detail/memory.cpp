#include "mlxcpp/lm/detail/memory.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>

namespace mlxcpp::lm::detail {
namespace {

std::optional<std::uint64_t> number_in(std::string_view text) {
  auto first = text.find_first_of("0123456789");
  std::uint64_t n = 0;
  if (first == text.npos) return {};
  auto end = text.data() + text.size();
  if (std::from_chars(text.data() + first, end, n).ec != std::errc()) return {};
  return n;
}

/// A small system file; nothing when it can not be read.
std::optional<std::string> system_file(const char* path) {
  try {
    return io::read_text_if_exists(path, 1 << 16);
  } catch (const Error&) {
    return {};
  }
}

std::optional<std::uint64_t> free_on_machine() {
  auto text = system_file("/proc/meminfo");
  if (!text) return {};
  auto at = text->find("MemAvailable:");
  if (at == text->npos) return {};
  auto kib = number_in(std::string_view(*text).substr(at, text->find('\n', at) - at));
  return kib ? std::optional(*kib * 1024) : std::nullopt;
}

std::optional<std::uint64_t> free_in_group() {
  auto limit = system_file("/sys/fs/cgroup/memory.max"),
       used = system_file("/sys/fs/cgroup/memory.current");
  if (!limit || !used) return {};
  auto max = number_in(*limit), now = number_in(*used);  // "max" holds no number
  if (!max || !now) return {};
  return *max > *now ? *max - *now : 0;
}

}  // namespace

std::string mebibytes(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f MiB", double(bytes) / (1 << 20));
  return text;
}

std::optional<std::uint64_t> available_memory() {
  auto machine = free_on_machine(), group = free_in_group();
  if (machine && group) return std::min(*machine, *group);
  return machine ? machine : group;
}

void require_memory(std::uint64_t needed, std::uint64_t limit) {
  auto allowed = limit ? std::optional(limit) : available_memory();
  if (allowed && needed > *allowed)
    throw CapacityError(describe("memory",
                                 "the model's weights do not fit",
                                 "at most " + mebibytes(*allowed),
                                 mebibytes(needed)));
}

nn::Residency choose_residency(nn::Residency asked, std::uint64_t bytes, std::uint64_t limit) {
  using nn::Residency;
  if (limit || asked != Residency::mapped) require_memory(bytes, limit);
  if (asked != Residency::automatic) return asked;
  auto free = available_memory();
  return free && bytes <= *free / 2 ? Residency::resident : Residency::mapped;
}

}  // namespace mlxcpp::lm::detail
