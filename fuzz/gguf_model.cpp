// A GGUF file of any architecture: config, tensors, tokenizer and model, or one of our errors.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/gguf.h"
#include "mlxcpp/lm/loaded_model.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/lm/models/models.h"

#include <cstdint>

namespace {

template <class Call>
void may_refuse(Call call) {
  try {
    call();
  } catch (const mlxcpp::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mlxcpp;
  may_refuse([&] {
    auto gguf = io::Gguf::parse(std::as_bytes(std::span(data, size)));
    may_refuse([&] { lm::tokenizer_from_gguf(gguf); });
    lm::LoadedModel loaded;
    loaded.config_json = lm::config_from_gguf(gguf);
    loaded.config = lm::parse_config(loaded.config_json);
    auto make = lm::find_model(lm::remap_model_type(loaded.config.model_type));
    auto weights = lm::weights_from_gguf(gguf);
    loaded.weights = std::move(weights.arrays);
    loaded.quantization = std::move(weights.quantization);
    if (make) lm::bind(loaded, make)->layout();
  });
  return 0;
}
