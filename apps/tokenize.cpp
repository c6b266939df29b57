// `mlxcpp tokenize`: text to ids and back.
#include "apps/common/edge.h"
#include "apps/common/model.h"
#include "apps/common/output.h"
#include "apps/verbs.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/io/utf8.h"
#include "mlxcpp/text/messages.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

namespace mlxcpp::apps {
namespace {

constexpr std::size_t kTextLimit = std::size_t{64} << 20;
using Ids = std::vector<text::TokenId>;

struct Flags {
  std::string model, text, ids;
  bool pieces = false, chat = false, no_special = false, json = false;
};

std::string read_text(const Flags& flags) {
  std::string text = flags.text == "-" ? read_input(kTextLimit) : flags.text;
  if (!io::is_utf8(text)) throw InputError(describe("text", "not UTF-8", "UTF-8"));
  return text;
}

Ids encode(const Flags& flags, const text::Tokenizer& tokenizer) {
  std::string text = read_text(flags);
  if (!flags.chat) return tokenizer.encode(text, !flags.no_special);
  text::ChatMessage message{.role = "user", .content = text};
  return tokenizer.apply_chat_template_ids(text::to_json({&message, 1}));
}

std::string piece(const text::Tokenizer& tokenizer, text::TokenId id) {
  return tokenizer.token(id).value_or("");
}

void write_ids(const Flags& flags, const Ids& ids, const text::Tokenizer& tokenizer) {
  if (flags.json) {
    io::JsonWriter json;
    json.begin_object().member("tokens", ids);
    if (flags.pieces) {
      json.key("pieces").begin_list();
      for (auto id : ids) json.value(piece(tokenizer, id));
      json.end_list();
    }
    return print(json.end_object().str() + "\n");
  }
  if (!flags.pieces) return print(fmt::format("{}\n", fmt::join(ids, " ")));
  std::string out;
  for (auto id : ids) out += fmt::format("{:>8}  {}\n", id, io::dump_string(piece(tokenizer, id)));
  print(out);
}

int run(const Flags& flags) {
  if (flags.text.empty() == flags.ids.empty())
    throw InputError(describe("tokenize",
                              "nothing to do",
                              "a text, - for standard input, or --decode IDS",
                              flags.ids.empty() ? "neither" : "both"));
  auto tokenizer = load_tokenizer(find_model(flags.model));
  if (flags.ids.empty()) {
    write_ids(flags, encode(flags, tokenizer), tokenizer);
    return kExitDone;
  }
  Ids ids;
  for (int id : parse_ids("--decode", flags.ids)) ids.push_back(text::TokenId(id));
  for (auto id : ids)
    if (!tokenizer.token(id))
      throw InputError(describe("--decode",
                                "no such token",
                                fmt::format("ids below {}", tokenizer.vocab_size()),
                                std::to_string(id)));
  std::string text = tokenizer.decode(ids, flags.no_special);
  if (flags.json) {
    io::JsonWriter json;
    print(json.begin_object().member("text", text).end_object().str() + "\n");
  } else {
    print(text + "\n");
  }
  return kExitDone;
}

}  // namespace

Verb add_tokenize(CLI::App& command) {
  auto* app =
      command.add_subcommand("tokenize", "Show the tokens of a text, or the text of tokens");
  auto flags = std::make_shared<Flags>();
  add_model_flag(*app, flags->model);
  app->add_option("text", flags->text, "The text; - reads standard input")->type_name("TEXT");
  app->add_option("--decode", flags->ids, "Ids, with commas between, whose text is wanted")
      ->type_name("IDS");
  app->add_flag("--pieces", flags->pieces, "Each token's spelling, too");
  app->add_flag("--chat", flags->chat, "The text as a user's message in the chat template");
  app->add_flag(
      "--no-special",
      flags->no_special,
      "Without tokens that the text does not spell out; with --decode: without special tokens");
  app->add_flag("--json", flags->json, "As a JSON object");
  return {app, [flags] { return run(*flags); }};
}

}  // namespace mlxcpp::apps
