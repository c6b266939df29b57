// Numbers of eight bits, one by one.
namespace mlxcpp::cpu {
namespace {

/// 2^(e - 127), as MLX has it.
inline float from_e8m0(uint8_t e) {
  uint32_t u = e ? (uint32_t)e << 23 : 0x400000;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
/// Sign, four bits of exponent, three of mantissa; no infinity.
inline float from_e4m3(uint8_t b) {
  float f = from_f16((uint16_t)((b & 0x80) << 8 | (b & 0x7f) << 7)) * 256;
  return (b & 0x7f) == 0x7f ? __builtin_nanf("") : f;
}

}  // namespace
}  // namespace mlxcpp::cpu
