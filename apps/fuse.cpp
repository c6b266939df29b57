// `mlxcpp fuse`: a model and an adapter become one model.
// Source: mlx-lm fuse.py (0.32.2).
#include "mlxcpp/lm/fuse.h"

#include "apps/common/chatter.h"
#include "apps/common/edge.h"
#include "apps/common/interrupt.h"
#include "apps/common/model.h"
#include "apps/common/output.h"
#include "apps/common/progress.h"
#include "apps/verbs.h"
#include "mlxcpp/builtin/models.h"
#include "mlxcpp/io/json.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>
#include <string>

namespace mlxcpp::apps {
namespace {

struct Flags {
  std::string model, adapter_path = "adapters", save_path = "fused_model";
  bool dequantize = false;
  Chatter chatter;
};

void write_json(const lm::Fused& fused, const Flags& flags) {
  io::JsonWriter json;
  json.begin_object()
      .member("save_path", flags.save_path)
      .member("fused", fused.tensors)
      .member("bytes", fused.bytes)
      .member("parameters", fused.parameters)
      .end_object();
  print(json.str() + "\n");
}

int run(const Flags& flags) {
  flags.chatter.attach_log();
  lm::FuseOptions options{.dequantize = flags.dequantize, .save = {}};
  lm::Fused fused;
  {
    ProgressBar bar("Writing", ProgressBar::Unit::bytes, flags.chatter.progress());
    options.save.progress = [&bar](std::uint64_t done, std::uint64_t total) {
      throw_if_interrupted();
      bar.update(done, total);
    };
    fused = lm::fuse(
        find_model(flags.model), flags.adapter_path, flags.save_path, builtin_models(), options);
  }
  if (flags.chatter.json)
    write_json(fused, flags);
  else if (!flags.chatter.quiet)
    print(fmt::format("{}: {} tensors changed, {}\n",
                      flags.save_path,
                      fused.tensors.size(),
                      human_bytes(fused.bytes)));
  return kExitDone;
}

}  // namespace

Verb add_fuse(CLI::App& command) {
  auto* app = command.add_subcommand("fuse", "Add an adapter to a model's weights");
  auto flags = std::make_shared<Flags>();
  add_model_flag(*app, flags->model);
  app->add_option("--adapter-path",
                  flags->adapter_path,
                  "A folder with a LoRA or DoRA adapter of mlx-lm or PEFT")
      ->capture_default_str()
      ->type_name("DIR");
  app->add_option("--save-path", flags->save_path, "The folder to write; there must be none yet")
      ->capture_default_str()
      ->type_name("DIR");
  app->add_flag("--dequantize", flags->dequantize, "Write numbers where the model's are packed");
  add_chatter_flags(*app, flags->chatter);
  return {app, [flags] { return run(*flags); }};
}

}  // namespace mlxcpp::apps
