#include "mlxcpp/io/utf8.h"

namespace mlxcpp::io {
namespace {

// What a lead byte promises: how many bytes follow, and the range of the first of them (which is
// where overlong forms, surrogates and too large numbers show).
struct Lead {
  int following;  // -1: not a lead byte
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {0};
  if (byte < 0xC2) return {-1};
  if (byte < 0xE0) return {1};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte < 0xF0) return {2};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte < 0xF4) return {3};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {-1};
}

struct Sequence {
  std::size_t length;  // at least 1
  bool good;           // else: the longest part that might have become a character
};

Sequence sequence_at(std::string_view text, std::size_t at) {
  Lead lead = lead_of(static_cast<unsigned char>(text[at]));
  if (lead.following < 0) return {1, false};
  std::size_t length = 1;
  for (; lead.following > 0; --lead.following, ++length) {
    if (at + length == text.size()) return {length, false};
    auto byte = static_cast<unsigned char>(text[at + length]);
    if (byte < lead.low || byte > lead.high) return {length, false};
    lead.low = 0x80;
    lead.high = 0xBF;
  }
  return {length, true};
}

}  // namespace

std::size_t utf8_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    Sequence s = sequence_at(text, at);
    if (!s.good) break;
    at += s.length;
  }
  return at;
}

bool is_utf8(std::string_view text) { return utf8_prefix(text) == text.size(); }

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    std::size_t good = utf8_prefix(text);
    out.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) break;
    out.append("\xEF\xBF\xBD");
    text.remove_prefix(sequence_at(text, 0).length);
  }
  return out;
}

}  // namespace mlxcpp::io
