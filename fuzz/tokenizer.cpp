// tokenizer.json: any bytes give a tokenizer or a TokenizerError, and a tokenizer that was made can
// encode, decode and stream.
#include "mlxcpp/text/tokenizer.h"

#include "mlxcpp/base/error.h"

#include <cstddef>
#include <cstdint>

namespace {

void use(const mlxcpp::text::Tokenizer& tokenizer) {
  const auto encoding = tokenizer.encode_full("Hello, w\xC3\xB6rld 12345 \xF0\x9F\x98\x80\n");
  tokenizer.decode(encoding.ids, true);
  auto stream = tokenizer.decode_stream();
  for (const auto id : encoding.ids) stream.step(id);
  for (mlxcpp::text::TokenId id = 0; id < 20; ++id) stream.step(id);
  stream.finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    use(mlxcpp::text::Tokenizer::from_json({reinterpret_cast<const char*>(data), size}));
  } catch (const mlxcpp::TokenizerError&) {
  }
  return 0;
}
