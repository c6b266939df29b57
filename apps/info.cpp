// `mlxcpp info`: what a model is and needs, from the headers of its files; or, without one, what
// this program runs on.
#include "apps/common/chatter.h"
#include "apps/common/checkpoint_size.h"
#include "apps/common/cpu_report.h"
#include "apps/common/edge.h"
#include "apps/common/model.h"
#include "apps/common/output.h"
#include "apps/common/progress.h"
#include "apps/verbs.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/builtin/models.h"
#include "mlxcpp/io/hub.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/ops/device.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::apps {
namespace {

struct Flags {
  std::string model;
  std::optional<int> context;
  bool cpu = false;
  Chatter chatter;
};

struct TokenizerInfo {
  std::string kind, error;  // error: it can not be used
  std::size_t vocab_size = 0;
  std::optional<std::string> bos;
  std::vector<std::string> eos;
  bool has_template = false, has_thinking = false;
};

struct ModelInfo {
  std::string path, type, served_by;  // served_by: the registered type
  bool supported = false;
  CheckpointSize size;
  std::optional<int> context_length;
  int context = 0;  // that the memory is given for
  std::optional<std::uint64_t> kv_bytes;
  TokenizerInfo tokenizer;
  lm::GenerationDefaults defaults;
  bool is_gguf = false;

  std::uint64_t memory() const { return size.loaded_bytes + kv_bytes.value_or(0); }
};

std::string tokenizer_kind(const ModelFiles& files) {
  if (files.gguf) {
    std::string kind = files.gguf->find<std::string>("tokenizer.ggml.model").value_or("none");
    auto pre = files.gguf->find<std::string>("tokenizer.ggml.pre");
    return pre ? kind + " (" + *pre + ")" : kind;
  }
  std::error_code ignored;
  for (auto* name : {"tokenizer.json", "tokenizer.model"})
    if (std::filesystem::exists(files.path / name, ignored)) return name;
  return "none";
}

TokenizerInfo tokenizer_info(const ModelFiles& files) {
  TokenizerInfo info;
  info.kind = tokenizer_kind(files);
  try {
    auto tokenizer = files.tokenizer();
    auto spelled = [&](text::TokenId id) {
      return tokenizer.token(id).value_or("#" + std::to_string(id));
    };
    info.vocab_size = tokenizer.vocab_size();
    if (auto bos = tokenizer.bos()) info.bos = spelled(*bos);
    for (auto id : tokenizer.eos_ids()) info.eos.push_back(spelled(id));
    info.has_template = tokenizer.has_chat_template();
    info.has_thinking = tokenizer.has_thinking();
  } catch (const Error& e) {
    info.error = e.what();
  }
  return info;
}

ModelInfo examine(const std::string& name, std::optional<int> context) {
  auto files = open_model(find_model(name));
  const auto& config = files.config.config;
  ModelInfo info;
  info.path = files.path.string();
  info.is_gguf = files.gguf.has_value();
  info.type = config.model_type;
  info.served_by = lm::remap_model_type(info.type);
  info.supported = builtin_models().contains(info.type);
  info.size = measure(files);
  info.context_length = config.max_position_embeddings;
  if (!info.context_length && files.gguf)
    info.context_length = files.gguf->find<int>(info.type + ".context_length");
  info.context = context.value_or(info.context_length.value_or(4096));
  if (auto bytes = kv_bytes_per_token(config)) info.kv_bytes = *bytes * std::uint64_t(info.context);
  info.tokenizer = tokenizer_info(files);
  info.defaults = files.config.generation_defaults;
  return info;
}

void write_json(const ModelInfo& i) {
  io::JsonWriter json;
  json.begin_object().member("path", i.path).member("format", i.is_gguf ? "gguf" : "mlx");
  json.member("model_type", i.type)
      .member("served_by", i.served_by)
      .member("supported", i.supported);
  json.member("parameters", i.size.parameters)
      .member("bytes", i.size.bytes)
      .member("bits_per_weight", i.size.bits_per_weight());
  json.key("tensors").begin_object();
  for (auto& [type, count] : i.size.types) json.member(type, count);
  json.end_object().member("context_length", i.context_length);
  json.key("memory")
      .begin_object()
      .member("context", i.context)
      .member("weights", i.size.loaded_bytes)
      .member("kv", i.kv_bytes)
      .member("total", i.memory())
      .end_object();
  const auto& t = i.tokenizer;
  json.key("tokenizer").begin_object().member("kind", t.kind);
  if (!t.error.empty()) json.member("error", t.error);
  json.member("vocab_size", t.vocab_size)
      .member("bos", t.bos)
      .member("eos", t.eos)
      .member("chat_template", t.has_template)
      .member("thinking", t.has_thinking)
      .end_object();
  json.key("sampling_defaults").begin_object();
  json.member("temperature", i.defaults.temperature)
      .member("top_p", i.defaults.top_p)
      .member("top_k", i.defaults.top_k)
      .member("min_p", i.defaults.min_p)
      .member("repetition_penalty", i.defaults.repetition_penalty)
      .end_object()
      .end_object();
  print(json.str() + "\n");
}

std::string line(const char* label, const std::string& text) {
  return fmt::format("{:<18}{}\n", label, text);
}

std::string defaults_text(const lm::GenerationDefaults& d) {
  std::string out;
  auto add = [&out](const char* name, const auto& value) {
    if (value) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", name, *value);
  };
  add("temperature", d.temperature);
  add("top_p", d.top_p);
  add("top_k", d.top_k);
  add("min_p", d.min_p);
  add("repetition_penalty", d.repetition_penalty);
  return out.empty() ? "none given: the most likely token" : out;
}

std::string types_text(const std::map<std::string, int>& types) {
  std::string out;
  for (auto& [type, count] : types)
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", count, type);
  return out;
}

std::string memory_text(const ModelInfo& i) {
  std::string kv = i.kv_bytes ? human_bytes(*i.kv_bytes) : "unknown";
  return fmt::format(
      "{} (weights {}, cache {}) at a context of {} tokens, and some for the computation",
      human_bytes(i.memory()),
      human_bytes(i.size.loaded_bytes),
      kv,
      i.context);
}

void write_text(const ModelInfo& i) {
  std::string out = line("model", i.path);
  std::string type = i.type == i.served_by ? i.type : i.type + ", served by " + i.served_by;
  out += line("type", type + (i.supported ? "" : " (not supported yet: see `mlxcpp models`)"));
  out += line("parameters", fmt::format("{:.1f} million", double(i.size.parameters) / 1e6));
  out += line("bits per weight", fmt::format("{:.2f}", i.size.bits_per_weight()));
  out += line("size", human_bytes(i.size.bytes) + " in " + types_text(i.size.types));
  out +=
      line("context", i.context_length ? fmt::format("{} tokens", *i.context_length) : "unknown");
  out += line("memory", memory_text(i));
  const auto& t = i.tokenizer;
  if (!t.error.empty()) {
    out += line("tokenizer", t.kind + ": " + t.error);
  } else {
    out += line("tokenizer", fmt::format("{}, {} tokens", t.kind, t.vocab_size));
    out += line("begin, end", fmt::format("{}, {}", t.bos.value_or("none"), fmt::join(t.eos, " ")));
    out += line("chat template",
                t.has_template ? (t.has_thinking ? "yes, with reasoning" : "yes") : "no");
  }
  out += line("sampling", defaults_text(i.defaults));
  print(out);
}

void write_machine(bool as_json) {
  std::string own = io::cache_directory().string(), hub = io::hub_cache_directory().string();
  std::string model = io::default_model_path().string();
  std::error_code ignored;
  bool there = std::filesystem::exists(model, ignored);
  if (as_json) {
    io::JsonWriter json;
    json.begin_object()
        .member("mlxcpp", MLXCPP_VERSION)
        .member("mlx", ops::mlx_version())
        .member("device", ops::device_name());
    json.member("cache", own)
        .member("hub_cache", hub)
        .member("default_model", model)
        .member("default_model_there", there);
    return print(json.end_object().str() + "\n");
  }
  print(line("mlxcpp", MLXCPP_VERSION) + line("MLX", ops::mlx_version()) +
        line("device", ops::device_name()) + line("our cache", own) + line("Hugging Face", hub) +
        line("default model", model + (there ? "" : " (not there; `make setup` fetches it)")));
}

int run(const Flags& flags) {
  flags.chatter.attach_log();
  if (flags.context && *flags.context < 1)
    throw InputError(describe(
        "--context", "bad value", "a number of at least 1", std::to_string(*flags.context)));
  if (flags.cpu) {
    if (!flags.model.empty())
      throw InputError(describe("--cpu", "describes no model", "no model", flags.model));
    print(cpu_report(flags.chatter.json));
    return kExitDone;
  }
  if (flags.model.empty()) {
    write_machine(flags.chatter.json);
    return kExitDone;
  }
  auto info = examine(flags.model, flags.context);
  flags.chatter.json ? write_json(info) : write_text(info);
  return kExitDone;
}

}  // namespace

Verb add_info(CLI::App& command) {
  auto* app = command.add_subcommand("info", "Describe a model, or this program's surroundings");
  auto flags = std::make_shared<Flags>();
  app->add_option(
         "model,--model",
         flags->model,
         "A model directory, a .gguf file or org/name; without it: versions, device and folders")
      ->type_name("MODEL");
  app->add_option("--context",
                  flags->context,
                  "Memory for this many tokens (default: the model's context length)")
      ->type_name("N");
  app->add_flag("--cpu",
                flags->cpu,
                "The CPU: which kernels it can run and which do run, and how fast it multiplies "
                "and reads");
  app->add_flag("--json", flags->chatter.json, "As a JSON object");
  return {app, [flags] { return run(*flags); }};
}

}  // namespace mlxcpp::apps
