#include "apps/common/speculation.h"

#include "apps/common/model.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/lm/speculative.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace mlxcpp::apps {

void add_speculation_flags(CLI::App& app, SpeculationFlags& f) {
  constexpr const char* kGroup = "Speculation";
  auto* draft = app.add_option("--draft-model",
                               f.draft_model,
                               "A smaller model of the same vocabulary guesses the next tokens, "
                               "which the model then checks in one pass")
                    ->type_name("MODEL")
                    ->group(kGroup);
  auto* lookup = app.add_flag("--prompt-lookup",
                              f.prompt_lookup,
                              "Guesses what followed the last time that the text was the same")
                     ->group(kGroup);
  auto* mtp = app.add_flag("--mtp",
                           f.mtp,
                           "The model's own head for further tokens guesses (multi-token "
                           "prediction), where its checkpoint keeps one")
                  ->group(kGroup);
  draft->excludes(lookup)->excludes(mtp);
  lookup->excludes(mtp);
  app.add_option("--num-draft-tokens",
                 f.num_draft_tokens,
                 "The most tokens of a guess (default: 10 with --prompt-lookup, else 3)")
      ->check(CLI::Range(1, 32))
      ->group(kGroup);
  app.add_flag(
         "--always-draft", f.always_draft, "Guesses as far as it may, also where that does not pay")
      ->group(kGroup);
}

lm::SpeculationOptions make_speculation_options(const SpeculationFlags& f,
                                                const lm::ModelContext& model,
                                                const Chatter& chatter) {
  lm::SpeculationOptions o{.num_draft_tokens = f.num_draft_tokens, .adaptive = !f.always_draft};
  if (f.prompt_lookup) o.kind = lm::DraftKind::lookup;
  if (f.mtp) o.kind = lm::DraftKind::mtp;
  if (!f.draft_model.empty()) {
    auto draft = load_model(f.draft_model, chatter);
    try {
      lm::require_same_vocabulary(model.tokenizer(), draft.tokenizer());
    } catch (const InputError& e) {
      throw InputError(std::string("--") + e.what());
    }
    o.kind = lm::DraftKind::model;
    o.draft = draft.shared_model();
  }
  return o;
}

std::string speculation_note(const lm::SpeculationStats& s) {
  if (s.passes == 0) return {};
  return fmt::format("drafts: {} of {} tokens accepted in {} passes, {:.2f} s\n",
                     s.accepted,
                     s.proposed,
                     s.passes,
                     s.draft_seconds);
}

void write_speculation(io::JsonWriter& json, const lm::SpeculationStats& s) {
  json.key("speculation")
      .begin_object()
      .member("passes", s.passes)
      .member("proposed", s.proposed)
      .member("accepted", s.accepted)
      .member("draft_seconds", s.draft_seconds)
      .end_object();
}

}  // namespace mlxcpp::apps
