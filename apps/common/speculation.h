// The flags of speculation: where guesses of the next tokens come from.
#pragma once

#include "apps/common/chatter.h"
#include "mlxcpp/lm/factory.h"

#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace mlxcpp::io {
class JsonWriter;
}

namespace mlxcpp::apps {

struct SpeculationFlags {
  std::string draft_model;
  std::optional<int> num_draft_tokens;
  bool prompt_lookup = false, mtp = false, always_draft = false;
};

void add_speculation_flags(CLI::App& app, SpeculationFlags& flags);

/// Loads the draft model where there is one.  Throws InputError naming the flag where its
/// vocabulary is not the model's.
lm::SpeculationOptions make_speculation_options(const SpeculationFlags& flags,
                                                const lm::ModelContext& model,
                                                const Chatter& chatter);

/// "drafts: 12 of 20 tokens accepted in 6 passes, 0.10 s\n"; empty where nothing was guessed.
std::string speculation_note(const lm::SpeculationStats& stats);
/// The same as member "speculation".
void write_speculation(io::JsonWriter& json, const lm::SpeculationStats& stats);

}  // namespace mlxcpp::apps
