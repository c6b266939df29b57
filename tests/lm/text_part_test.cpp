// What is left of a multimodal checkpoint.
#include "mlxcpp/lm/models/text_part.h"

#include <gtest/gtest.h>

#include <vector>

namespace mlxcpp::lm {
namespace {

std::vector<std::string> kept(std::initializer_list<const char*> names) {
  nn::WeightMap w;
  for (auto name : names) w.arrays.emplace(name, array(1.f));
  keep_text_part(w, {"vision_tower", "embed_vision"});
  std::vector<std::string> left;
  for (auto& [name, value] : w.arrays) left.push_back(name);
  return left;
}

TEST(TextPart, has_the_names_of_a_decoder) {
  std::vector<std::string> names{"lm_head.weight", "model.norm.weight"};
  EXPECT_EQ(kept({"model.language_model.norm.weight", "lm_head.weight"}), names);
  EXPECT_EQ(kept({"language_model.model.norm.weight", "language_model.lm_head.weight"}), names);
}

TEST(TextPart, is_without_the_towers_wherever_they_stand) {
  EXPECT_EQ(kept({"model.language_model.norm.weight",
                  "model.vision_tower.norm.weight",
                  "vision_tower.norm.weight",
                  "model.embed_vision.weight",
                  "embed_vision_2.weight"}),
            (std::vector<std::string>{"embed_vision_2.weight", "model.norm.weight"}));
}

TEST(TextPart, takes_how_it_is_packed_along) {
  nn::WeightMap w;
  w.quantization.exceptions.emplace("language_model.model.norm", std::nullopt);
  keep_text_part(w, {});
  EXPECT_TRUE(w.quantization.exceptions.count("model.norm"));
}

}  // namespace
}  // namespace mlxcpp::lm
