// config.json and generation_config.json: any text gives values or one of our errors, and every
// architecture that is handed the config binds or refuses a few tensors of no bytes.
#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/lm/models/models.h"

#include <mlx/ops.h>

#include <cstdint>
#include <cstdlib>

namespace {

using namespace mlxcpp;

/// "name: missing; expected shape (2, 3), found no such tensor" as that tensor, of zeros that take
/// no memory before they are evaluated.  Nothing for another message.
bool give_what_is_missing(const std::string& message, lm::LoadedModel& loaded) {
  constexpr std::string_view kMissing = ": missing; expected shape (";
  auto at = message.find(kMissing);
  if (at == message.npos) return false;
  mx::Shape shape;
  const char* next = message.data() + at + kMissing.size();
  for (char* end; *next != ')'; next = end + (*end == ',')) {
    shape.push_back(int(std::strtol(next, &end, 10)));
    if (end == next) std::abort();  // the message has another form: reach the constructors anew
  }
  return loaded.weights.emplace(message.substr(0, at), mx::zeros(shape)).second;
}

/// Enough tensors for a layer and what follows it.
constexpr int kTensors = 16;

void construct(lm::LoadedModel loaded, lm::MakeModel make) {
  for (int i = 0; i <= kTensors; ++i) try {
      auto model = lm::bind(loaded, make);
      model->layout();
      return;
    } catch (const WeightError& e) {
      if (!give_what_is_missing(e.what(), loaded)) return;
    } catch (const Error&) {
      return;
    }
}

template <class Call>
void may_refuse(Call call) {
  try {
    call();
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  lm::parse_generation_config(text);
  lm::LoadedModel loaded;
  loaded.config_json = text;
  may_refuse([&] { loaded.config = lm::parse_config(text); });
  may_refuse([&] {
    loaded.quantization = nn::Quantization::read(io::Fields::parse(text));
    for (int columns : {0, 1, 16, INT32_MAX})
      for (bool affine : {false, true})
        loaded.quantization.of("model.layers.0.mlp.up_proj", {128, columns, 2, affine});
  });
  may_refuse([&] {
    io::Fields::parse(text);  // what is no JSON is the same for all of them
    lm::ModelTypeRegistry registry;
    lm::add_models(registry);
    for (auto& type : registry.model_types()) construct(loaded, lm::find_model(type));
  });
  return 0;
}
