// What tools/conformance compares with Python: JSON in, JSON out.
//
//   conformance tokenize TOKENIZER TEXTS OUT   texts in hex -> for each ids, offsets, decoded ...
//   conformance render CASES OUT               [[template, [context, ...]], ...] -> [[result, ...],
//   ...]
//
// TOKENIZER is a tokenizer.json, a .gguf file or a sentencepiece .model.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/lm/gguf.h"
#include "mlxcpp/text/tokenizer.h"

#include <nlohmann/json.hpp>

#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace text = mlxcpp::text;
using Json = nlohmann::ordered_json;

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::string& path, const Json& json) {
  std::ofstream file(path, std::ios::binary);
  file << json.dump();
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

text::Tokenizer load(const std::string& path) {
  if (path.ends_with(".gguf")) return mlxcpp::lm::tokenizer_from_gguf(mlxcpp::io::Gguf::open(path));
  if (path.ends_with(".model")) return text::Tokenizer::from_sentencepiece(read(path));
  return text::Tokenizer::from_json(read(path));
}

Json tokenized(const text::Tokenizer& tokenizer, const std::string& line) {
  const text::Encoding full = tokenizer.encode_full(line);
  Json offsets = Json::array();
  for (const auto& [begin, end] : full.offsets) {
    offsets.push_back(begin);
    offsets.push_back(end);
  }
  std::string streamed;
  text::DecodeStream stream = tokenizer.decode_stream();
  for (const text::TokenId id : full.ids) streamed += stream.step(id);
  streamed += stream.finish();
  return {{"ids", full.ids},
          {"fast", tokenizer.encode(line)},
          {"plain", tokenizer.encode(line, false)},
          {"offsets", offsets},
          {"decoded", tokenizer.decode(full.ids)},
          {"skipped", tokenizer.decode(full.ids, true)},
          {"streamed", streamed}};
}

void tokenize(const std::string& path, const std::string& texts, const std::string& out) {
  const text::Tokenizer tokenizer = load(path);
  Json results = Json::array();
  for (const Json& hex : Json::parse(read(texts))) {
    results.push_back(tokenized(tokenizer, from_hex(hex.get<std::string>())));
  }
  write(out, results);
}

Json rendered(const std::string& source, const Json& context) {
  try {
    return {{"text", text::ChatTemplate(source).render_context(context.dump())}};
  } catch (const mlxcpp::Error& e) {
    return {{"error", e.what()}};
  }
}

void render(const std::string& cases, const std::string& out) {
  Json results = Json::array();
  for (const Json& one : Json::parse(read(cases))) {
    Json row = Json::array();
    for (const Json& context : one.at(1)) {
      row.push_back(rendered(one.at(0).get<std::string>(), context));
    }
    results.push_back(row);
  }
  write(out, results);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  try {
    if (args.size() == 4 && args[0] == "tokenize") {
      tokenize(args[1], args[2], args[3]);
    } else if (args.size() == 3 && args[0] == "render") {
      render(args[1], args[2]);
    } else {
      std::cerr << "usage: conformance tokenize TOKENIZER TEXTS OUT | render CASES OUT\n";
      return 2;
    }
  } catch (const std::exception& e) {
    std::cerr << "conformance: " << e.what() << "\n";
    return 1;
  }
  return 0;
}
