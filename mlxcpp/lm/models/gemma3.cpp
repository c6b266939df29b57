// Gemma 3: the text part.
// Source: mlx-lm models/gemma3.py (0.32.2).  Differs: extents are those of text_config alone.
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/lm/models/text_part.h"

namespace mlxcpp::lm {

std::unique_ptr<LanguageModel> make_gemma3(io::Fields f, nn::WeightMap& w) {
  keep_text_part(w, {"vision_tower", "multi_modal_projector"});
  return make_gemma3_text(f.need_object("text_config"), w);
}

}  // namespace mlxcpp::lm
