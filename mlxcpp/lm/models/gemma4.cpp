// Gemma 4 and Gemma 4 Unified: the text part.
// Source: mlx-lm models/gemma4.py (0.32.2).  Differs: extents are those of text_config alone.
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/lm/models/text_part.h"

namespace mlxcpp::lm {

std::unique_ptr<LanguageModel> make_gemma4(io::Fields f, nn::WeightMap& w) {
  keep_text_part(w,
                 {"vision_tower",
                  "vision_embedder",
                  "audio_tower",
                  "multi_modal_projector",
                  "embed_vision",
                  "embed_audio"});
  return make_gemma4_text(f.need_object("text_config"), w);
}

}  // namespace mlxcpp::lm
