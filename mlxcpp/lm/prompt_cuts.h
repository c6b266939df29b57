// Where a conversation's prompt may be cut: after what the prompts of its next turns begin with,
// too.
#pragma once

#include "mlxcpp/lm/prompt_cache.h"
#include "mlxcpp/text/messages.h"
#include "mlxcpp/text/tokenizer.h"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace mlxcpp::lm {

struct PromptCut {
  std::size_t tokens;  // of the prompt, before the cut
  PromptKind kind;     // what ends there
  bool operator==(const PromptCut&) const = default;
};

struct CutPrompt {
  std::vector<TokenId> ids;     // as apply_chat_template_ids gives them
  std::vector<PromptCut> cuts;  // ascending, more than 0 and fewer than all tokens
};

/// Cuts after the system messages, after the user's last question, and after the last message, be
/// it of the user or a tool's result: each only as far as the template renders it the same whatever
/// follows.  So templates that change earlier turns cost cuts, and never make one wrong.  Throws as
/// Tokenizer::apply_chat_template.
CutPrompt cut_prompt(const text::Tokenizer& tokenizer,
                     std::span<const text::ChatMessage> messages,
                     const text::ChatOptions& options = {});

/// Only the cut after the system messages, of messages as JSON text (a list, as
/// Tokenizer::apply_chat_template takes it) whose other parts may be whatever the template reads.
CutPrompt cut_system_prompt(const text::Tokenizer& tokenizer,
                            const std::string& messages_json,
                            const text::ChatOptions& options = {});

}  // namespace mlxcpp::lm
