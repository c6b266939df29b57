// tokenizer.json and tokenizer.model: any bytes give a tokenizer or a TokenizerError, and a
// tokenizer that was made can encode, decode and stream.
#include "mlxcpp/text/tokenizer.h"

#include "mlxcpp/base/error.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

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
  using mlxcpp::text::Tokenizer;
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  try {
    use(file.starts_with('{') ? Tokenizer::from_json(file) : Tokenizer::from_sentencepiece(file));
  } catch (const mlxcpp::TokenizerError&) {
  }
  return 0;
}
