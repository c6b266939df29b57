// `mlxcpp models`: the model types that run, from the registry.
#include "mlxcpp/builtin/models.h"

#include "apps/common/edge.h"
#include "apps/common/output.h"
#include "apps/verbs.h"
#include "mlxcpp/io/json.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>

namespace mlxcpp::apps {
namespace {

void write_json(const lm::ModelTypeRegistry& registry) {
  io::JsonWriter json;
  json.begin_list();
  for (auto& type : registry.model_types())
    json.begin_object()
        .member("model_type", type)
        .member("kind", "language")
        .member("aliases", lm::ModelTypeRegistry::aliases_of(type))
        .end_object();
  print(json.end_list().str() + "\n");
}

/// A Markdown table, so that documents can hold the output as it is.
void write_table(const lm::ModelTypeRegistry& registry) {
  std::string out;
  auto row = [&out](const std::string& a, const std::string& b, const std::string& c) {
    out += fmt::format("| {:<16} | {:<8} | {:<32} |\n", a, b, c);
  };
  row("model type", "kind", "also");
  row("---", "---", "---");
  for (auto& type : registry.model_types()) {
    std::string aliases;
    for (auto& alias : lm::ModelTypeRegistry::aliases_of(type))
      aliases += (aliases.empty() ? "" : ", ") + alias;
    row(type, "language", aliases);
  }
  print(out);
}

}  // namespace

Verb add_models(CLI::App& command) {
  auto* app = command.add_subcommand("models", "List the model types that run");
  auto json = std::make_shared<bool>(false);
  app->add_flag("--json", *json, "As a JSON list");
  return {app, [json] {
            auto registry = builtin_models();
            *json ? write_json(registry) : write_table(registry);
            return kExitDone;
          }};
}

}  // namespace mlxcpp::apps
