#include "mlxcpp/lm/adapters.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/lm/detail/projections.h"
#include "mlxcpp/nn/checkpoint.h"
#include "mlxcpp/ops/basic.h"

#include <mlx/linalg.h>
#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;
using detail::Projection;
using nn::to_string;

constexpr std::uint64_t kFileLimit = std::uint64_t{2} << 30;

[[noreturn]] void refuse(const std::string& where,
                         std::string_view what,
                         const std::string& expected = "",
                         const std::string& found = "") {
  throw WeightError(describe(where, what, expected, found));
}

// --- Reading ------------------------------------------------------------------------------------

/// The first of the two names, or the other one.
fs::path find_weights(const fs::path& folder, AdapterConfig::Format format) {
  std::vector<const char*> names{"adapters.safetensors", "adapter_model.safetensors"};
  if (format == AdapterConfig::Format::peft) std::swap(names[0], names[1]);
  for (auto name : names) {
    std::error_code error;
    auto status = fs::status(folder / name, error);
    if (status.type() == fs::file_type::not_found) continue;
    if (status.type() != fs::file_type::regular)
      throw IoError(describe((folder / name).string(), "cannot be used", "a regular file"));
    if (auto size = fs::file_size(folder / name, error); error || size > kFileLimit)
      throw IoError(describe((folder / name).string(),
                             "file is too large",
                             "at most " + std::to_string(kFileLimit) + " bytes",
                             error ? error.message() : std::to_string(size)));
    return folder / name;
  }
  throw IoError(describe(folder.string(),
                         "no weights of an adapter",
                         std::string(names[0]) + " or " + names[1],
                         "neither"));
}

enum class Half { a, b, magnitude };

/// A tensor's module, and which part of it that is.
std::optional<std::pair<std::string, Half>> parse_name(std::string_view name,
                                                       AdapterConfig::Format format) {
  using Ending = std::pair<std::string_view, Half>;
  static constexpr Ending native[] = {
      {".lora_a", Half::a}, {".lora_b", Half::b}, {".m", Half::magnitude}};
  static constexpr Ending peft[] = {{".lora_A.weight", Half::a},
                                    {".lora_B.weight", Half::b},
                                    {".lora_A.default.weight", Half::a},
                                    {".lora_B.default.weight", Half::b},
                                    {".lora_magnitude_vector", Half::magnitude},
                                    {".lora_magnitude_vector.weight", Half::magnitude},
                                    {".lora_magnitude_vector.default.weight", Half::magnitude}};
  bool is_peft = format == AdapterConfig::Format::peft;
  auto match = [&](const Ending* begin, const Ending* end) {
    return std::find_if(begin, end, [&](auto& e) { return name.ends_with(e.first); });
  };
  auto* end = is_peft ? std::end(peft) : std::end(native);
  auto* found = is_peft ? match(std::begin(peft), end) : match(std::begin(native), end);
  if (found == end) return {};
  std::string_view module = name.substr(0, name.size() - found->first.size());
  constexpr std::string_view wrapper = "base_model.model.";
  if (is_peft && module.starts_with(wrapper)) module.remove_prefix(wrapper.size());
  if (module.empty()) return {};
  return std::pair(std::string(module), found->second);
}

struct Found {
  std::optional<array> a, b, magnitude;
};

void check_factors(const Adapter& adapter, const std::string& module, const Found& f) {
  std::string where = adapter.where + ": " + module;
  if (!f.a || !f.b)
    refuse(where,
           "half a product",
           "both factors",
           f.a   ? "only the first"
           : f.b ? "only the second"
                 : "neither");
  if (f.a->ndim() != f.b->ndim() || f.a->ndim() < 2 || f.a->ndim() > 3)
    refuse(where,
           "wrong shape",
           "two factors with two or three axes",
           to_string(f.a->shape()) + " and " + to_string(f.b->shape()));
  bool is_peft = adapter.config.format == AdapterConfig::Format::peft;
  bool turned = is_peft || f.a->ndim() == 3;
  int rank = turned ? f.a->shape(-2) : f.a->shape(-1);
  int other = turned ? f.b->shape(-1) : f.b->shape(-2);
  int wanted = adapter.config.rank(module);
  if (rank != wanted || other != wanted)
    refuse(where,
           "another rank than the config says",
           std::to_string(wanted),
           std::to_string(rank) + " and " + std::to_string(other));
  if (adapter.config.dora != f.magnitude.has_value())
    refuse(where, adapter.config.dora ? "no magnitudes" : "magnitudes without DoRA in the config");
  for (auto* x : {&f.a, &f.b, &f.magnitude})
    if (*x && !mx::issubdtype((*x)->dtype(), mx::floating))
      refuse(where, "wrong dtype", "floating point");
}

// --- Finding modules ----------------------------------------------------------------------------

array scaled(const array& x, float by) {
  return mx::multiply(mx::astype(x, mx::float32), array(by));
}

std::optional<array> as_float(const std::optional<array>& x) {
  return x ? std::optional(mx::astype(*x, mx::float32)) : std::nullopt;
}

/// (r, in) and (out, r), or with the experts before; scale in b.
LowRank oriented(const Adapter& adapter,
                 const std::string& module,
                 const AdapterFactors& f,
                 bool is_table) {
  float scale = adapter.config.scale(module);
  array a = mx::astype(f.a, mx::float32), b = f.b;
  if (adapter.config.format == AdapterConfig::Format::mlx_lm && a.ndim() == 2) {
    if (is_table) return {mx::astype(f.b, mx::float32), scaled(f.a, scale), as_float(f.magnitude)};
    a = mx::swapaxes(a, 0, 1), b = mx::swapaxes(b, 0, 1);
  }
  return {a, scaled(b, scale), as_float(f.magnitude)};
}

/// m / |W + b a|, row by row.
array dora_factor(const ops::WeightData& w, const LowRank& change) {
  array whole =
      mx::add(mx::astype(ops::dequantised(w), mx::float32), mx::matmul(change.b, change.a));
  array norms = mx::sqrt(mx::sum(mx::square(whole), 1));
  return mx::divide(*change.magnitude, norms);
}

class Resolver {
 public:
  Resolver(const Adapter& adapter, const LanguageModel& model)
      : adapter_(adapter),
        manifest_(model.manifest()),
        projections_(manifest_),
        layers_(int(model.layout().size())) {}

  std::vector<AdaptedWeight> run() {
    bool is_peft = adapter_.config.format == AdapterConfig::Format::peft;
    if (!manifest_.adapters_of.empty() && (manifest_.adapters_of == "PEFT") != is_peft)
      throw UnsupportedError(describe(adapter_.where,
                                      is_peft ? "this checkpoint's multipliers are in its weights"
                                              : "mlx-lm's conversion multiplies these weights",
                                      is_peft ? "the original one" : "one that mlx-lm converted"));
    for (auto& [module, factors] : adapter_.factors) add(module, factors);
    for (auto& [path, parts] : of_experts_) join(path, parts);
    require_all_selected();
    std::vector<AdaptedWeight> all = std::move(unused_);
    for (auto& [path, found] : found_) all.push_back(std::move(found));
    return all;
  }

 private:
  std::string where(const std::string& module) const { return adapter_.where + ": " + module; }

  void add(const std::string& module, const AdapterFactors& factors) {
    auto parts = projections_.find(module);
    auto unused = parts.empty() ? projections_.unused(module) : std::nullopt;
    if (parts.empty() && !unused)
      refuse(where(module),
             "no such projection in the model",
             "one that the model has" + projections_.near(module));
    if (!adapter_.config.selection.selects(module, layers_))
      refuse(where(module), "factors of a module that adapter_config.json does not select");
    if (unused) {
      unused_.push_back({*unused, nullptr, oriented(adapter_, module, factors, false)});
      return;
    }
    auto change = oriented(adapter_, module, factors, manifest_.tables.count(parts[0].path) > 0);
    int outputs = 0;
    for (auto& part : parts)
      if (part.expert < 0 || outputs == 0)
        outputs = std::max(outputs, part.row + part.weight->outputs());
    check_shapes(module, change, parts[0], outputs);
    for (auto& part : parts) {
      int n = part.weight->outputs();
      LowRank piece{change.a, ops::take_columns(change.b, part.row, part.row + n, -2), {}};
      if (change.magnitude)
        piece.magnitude = ops::take_columns(*change.magnitude, part.row, part.row + n, 0);
      if (part.expert >= 0) {
        auto& experts = of_experts_[part.path];
        if (!experts.emplace(part.expert, std::pair(part, piece)).second) twice(module);
      } else {
        put(module, part, std::move(piece));
      }
    }
  }

  void check_shapes(const std::string& module,
                    const LowRank& change,
                    const Projection& part,
                    int outputs) const {
    bool experts = part.weight->value->ndim() == 3;
    mx::Shape a = change.a.shape(), b = change.b.shape();
    bool fits = a.back() == part.weight->inputs() && b[b.size() - 2] == outputs;
    if (experts && part.expert < 0)
      fits = fits && a.size() == 3 && a[0] == part.weight->value->shape(0) && b[0] == a[0];
    else
      fits = fits && a.size() == 2;
    if (!fits)
      refuse(where(module),
             "factors for a weight of another shape",
             (experts && part.expert < 0 ? std::to_string(part.weight->value->shape(0)) + " x "
                                         : std::string()) +
                 to_string({outputs, part.weight->inputs()}),
             to_string(b) + " times " + to_string(a));
    if (change.magnitude && experts) refuse(where(module), "DoRA of experts");
    if (change.magnitude && change.magnitude->shape() != mx::Shape{outputs})
      refuse(where(module),
             "magnitudes of another shape",
             to_string({outputs}),
             to_string(change.magnitude->shape()));
  }

  [[noreturn]] void twice(const std::string& module) const {
    refuse(where(module), "a weight of the model has two of the adapter's modules");
  }

  void put(const std::string& module, const Projection& part, LowRank piece) {
    if (!found_.emplace(part.path, AdaptedWeight{part.path, part.weight, std::move(piece)}).second)
      twice(module);
  }

  /// Experts that were adapted one by one.
  void join(const std::string& path, const std::map<int, std::pair<Projection, LowRank>>& parts) {
    auto& first = parts.begin()->second;
    int count = first.first.weight->value->shape(0), rank = 0;
    for (auto& [expert, part] : parts) rank = std::max(rank, part.second.a.shape(0));
    int in = first.second.a.shape(1), out = first.second.b.shape(0);
    std::vector<array> a, b;
    for (int e = 0; e < count; ++e) {
      auto it = parts.find(e);
      bool has = it != parts.end();
      int missing = rank - (has ? it->second.second.a.shape(0) : rank);
      a.push_back(has ? mx::pad(it->second.second.a, {{0, missing}, {0, 0}})
                      : mx::zeros({rank, in}));
      b.push_back(has ? mx::pad(it->second.second.b, {{0, 0}, {0, missing}})
                      : mx::zeros({out, rank}));
    }
    put(path, first.first, {mx::stack(a), mx::stack(b), {}});
  }

  /// What the config names must be there: a file that was cut in training would pass otherwise.
  void require_all_selected() const {
    auto& selection = adapter_.config.selection;
    if (!selection.is_explicit()) return;
    bool is_peft = adapter_.config.format == AdapterConfig::Format::peft;
    for (auto& [path, weight] : manifest_.linears) {
      auto layer = layer_of(path);  // heads for further tokens are none of mlx-lm's
      if (path.starts_with("mtp.") || (layer && layer->layer >= layers_)) continue;
      if (found_.count(path) ||
          (is_peft && (weight->value->ndim() == 3 || manifest_.tables.count(path))))
        continue;
      for (auto& name : projections_.names_of(path))
        if (selection.selects(name, layers_))
          refuse(where(name), "no factors of a module that adapter_config.json selects");
    }
  }

  const Adapter& adapter_;
  const nn::Manifest& manifest_;
  detail::Projections projections_;
  int layers_;
  std::vector<AdaptedWeight> unused_;
  std::map<std::string, AdaptedWeight> found_;
  std::map<std::string, std::map<int, std::pair<Projection, LowRank>>> of_experts_;
};

/// Zeros behind the ranks of a narrower adapter.
array padded(const array& x, int axis, int rank) {
  std::vector<std::pair<int, int>> by(x.ndim(), {0, 0});
  by[size_t(axis + int(x.ndim()))].second = rank - x.shape(axis);
  return mx::pad(x, by);
}

}  // namespace

Adapter Adapter::read(const fs::path& folder) {
  std::string label = (folder / "adapter_config.json").string();
  auto fields = io::Fields::parse(io::read_text(label, io::kConfigLimit), label);
  Adapter adapter{folder.string(), AdapterConfig::read(fields), {}};
  auto path = find_weights(folder, adapter.config.format);
  std::map<std::string, Found> found;
  for (auto& [name, value] :
       nn::load_safetensors({io::WeightFiles::Kind::safetensors, {path}, {}})) {
    auto parsed = parse_name(name, adapter.config.format);
    std::string where = path.string() + ": " + io::printable(name);
    if (!parsed)
      throw UnsupportedError(describe(where,
                                      name.find("lora_embedding") != name.npos
                                          ? "PEFT's adapters of embeddings are not supported"
                                          : "not a tensor of an adapter"));
    auto& [module, half] = *parsed;
    Found& f = found[module];
    auto& slot = half == Half::a ? f.a : half == Half::b ? f.b : f.magnitude;
    if (slot) refuse(where, "given twice");
    slot = value;
  }
  if (found.empty()) refuse(path.string(), "no factors");
  for (auto& [module, f] : found) {
    check_factors(adapter, module, f);
    adapter.factors.emplace(module, AdapterFactors{*f.a, *f.b, f.magnitude});
  }
  return adapter;
}

std::vector<AdaptedWeight> resolve(const Adapter& adapter, const LanguageModel& model) {
  return Resolver(adapter, model).run();
}

AdapterSet::AdapterSet(std::shared_ptr<const LanguageModel> model) : model_(std::move(model)) {
  if (int count = model_->adapter_use().count)
    throw InputError(describe("adapters", "the model has some", "none", std::to_string(count)));
}

std::map<std::string, ops::Adapters> AdapterSet::stacked(const std::vector<Changes>& all) const {
  std::map<std::string, const AdaptedWeight*> touched;
  for (auto& changes : all)
    for (auto& [path, change] : changes) touched.emplace(path, &change);
  std::map<std::string, ops::Adapters> result;
  for (auto& [path, example] : touched) {
    int rank = 0;
    bool dora = false;
    for (auto& changes : all) {
      auto it = changes.find(path);
      if (it == changes.end()) continue;
      rank = std::max(rank, it->second.change.a.shape(-2));
      dora |= it->second.change.magnitude.has_value();
    }
    array zero_a = mx::zeros_like(padded(example->change.a, -2, rank));
    array zero_b = mx::zeros_like(padded(example->change.b, -1, rank));
    int outputs = example->weight->outputs();
    std::vector<array> a, b, factor;
    for (auto& changes : all) {
      auto it = changes.find(path);
      const LowRank* change = it == changes.end() ? nullptr : &it->second.change;
      a.push_back(change ? padded(change->a, -2, rank) : zero_a);
      b.push_back(change ? padded(change->b, -1, rank) : zero_b);
      factor.push_back(change && change->magnitude ? dora_factor(*example->weight, *change)
                                                   : mx::ones({outputs}));
    }
    std::optional<array> factors;
    if (dora) factors = mx::stack(factor);
    result.emplace(path,
                   ops::Adapters{mx::stack(a), mx::stack(b), model_->adapter_rows(), factors});
  }
  return result;
}

int AdapterSet::add(const std::string& name, const Adapter& adapter) {
  if (find(name)) throw InputError(describe("adapter \"" + name + "\"", "the name is taken"));
  Changes changes;
  for (auto& change : resolve(adapter, *model_))
    if (change.weight) changes.emplace(change.path, std::move(change));
  auto all = changes_;
  all.push_back(std::move(changes));
  auto stacks = stacked(all);
  auto names = names_;
  names.push_back(name);
  for (auto& [path, stack] : stacks)
    model_->manifest().linears.at(path)->adapters = std::move(stack);
  changes_ = std::move(all), names_ = std::move(names);
  return model_->adapter_use().count = int(changes_.size());
}

std::optional<int> AdapterSet::find(const std::string& name) const {
  auto it = std::ranges::find(names_, name);
  return it == names_.end() ? std::nullopt : std::optional(int(it - names_.begin()) + 1);
}

void AdapterSet::choose(int adapter) {
  auto& use = model_->adapter_use();
  if (adapter < 0 || adapter > use.count)
    throw InputError(describe(
        "adapter", "no such one", "0 to " + std::to_string(use.count), std::to_string(adapter)));
  use.chosen = adapter;
}

void AdapterSet::materialize() const {
  std::vector<array> all;
  for (auto& [path, weight] : model_->manifest().linears)
    if (auto& adapters = weight->adapters) {
      all.push_back(adapters->a);
      all.push_back(adapters->b);
      if (adapters->factor) all.push_back(*adapters->factor);
    }
  mx::eval(all);
}

std::uint64_t AdapterSet::nbytes() const {
  std::uint64_t n = 0;
  for (auto& [path, weight] : model_->manifest().linears)
    if (auto& adapters = weight->adapters)
      n += adapters->a.nbytes() + adapters->b.nbytes() +
           (adapters->factor ? adapters->factor->nbytes() : 0);
  return n;
}

}  // namespace mlxcpp::lm
