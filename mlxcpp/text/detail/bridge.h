// Crossing into the Rust bridge: arguments by view, results by copy, failures as our errors.
#pragma once

#include "mlxcpp/base/error.h"
#include "mlxcpp_bridge/src/lib.rs.h"

#include "rust/cxx.h"  // rust::Error: the generated header leaves it out

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::text::detail {

/// Runs `f`.  A failure in Rust becomes an E that names `where`; so does text that is not UTF-8,
/// where Rust asks for it.
template <class E = TokenizerError, class F>
auto call(std::string_view where, F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const rust::Error& e) {
    throw E(describe(where, e.what()));
  } catch (const std::invalid_argument&) {
    throw E(describe(where, "not UTF-8"));
  }
}

inline rust::Str str(std::string_view s) { return {s.data(), s.size()}; }

inline rust::Slice<const std::uint8_t> bytes(std::string_view s) {
  return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()};
}

template <class T>
rust::Slice<const T> slice(std::span<const T> s) {
  return {s.data(), s.size()};
}

template <class T>
std::vector<T> copy(const rust::Vec<T>& v) {
  return {v.begin(), v.end()};
}

template <class T>
rust::Vec<T> to_rust(const std::vector<T>& v) {
  rust::Vec<T> out;
  out.reserve(v.size());
  for (const T& x : v) out.push_back(x);
  return out;
}

inline rust::Vec<rust::String> to_rust(const std::vector<std::string>& v) {
  rust::Vec<rust::String> out;
  out.reserve(v.size());
  for (const std::string& s : v) out.push_back(rust::String::lossy(s));
  return out;
}

}  // namespace mlxcpp::text::detail
