// AMX's eight tiles, all of 16 rows of 64 bytes.
namespace mlxcpp::cpu {
namespace {

struct TileConfig {
  uint8_t palette, start;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
const TileConfig kTileConfig = {
    1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

/// g++ 12's _tile_loadconfig says that it reads 8 of the 64 bytes, so stores to the others before
/// it may be dropped.  A constant has none; the barrier is for whoever changes that.
inline void configure_tiles() {
  asm volatile("" ::"r"(&kTileConfig) : "memory");
  _tile_loadconfig(&kTileConfig);
}

}  // namespace
}  // namespace mlxcpp::cpu
