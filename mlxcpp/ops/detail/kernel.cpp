#include "mlxcpp/ops/detail/kernel.h"

#include "mlxcpp/base/error.h"

#include <mlx/allocator.h>
#include <mlx/backend/cpu/encoder.h>
#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <cstring>

namespace mlxcpp::ops::detail {

Kernel::Kernel(const char* name, Bind bind, Composition composition)
    : Primitive(mx::default_stream(mx::Device::cpu)),
      name_(name),
      bind_(std::move(bind)),
      composition_(std::move(composition)) {}

Kernel::Kernel(const char* name, Run run, Composition composition)
    : Kernel(name,
             Bind([run = std::move(run)](const std::vector<array>& inputs,
                                         std::vector<array>& outputs) {
               std::vector<array> in, out;
               for (auto& a : inputs) in.push_back(array::unsafe_weak_copy(a));
               for (auto& a : outputs) out.push_back(array::unsafe_weak_copy(a));
               return [run, in = std::move(in), out = std::move(out)]() mutable { run(in, out); };
             }),
             std::move(composition)) {}

void Kernel::eval_cpu(const std::vector<array>& inputs, std::vector<array>& outputs) {
  auto& encoder = mx::cpu::get_command_encoder(stream());
  struct Copy {
    const char* from;
    char* to;
    size_t bytes;
  };
  std::vector<Copy> copies;
  for (size_t i = 0; i < outputs.size(); ++i) {
    int from = i < reuse.size() ? reuse[i] : -1;
    array& o = outputs[i];
    if (from >= 0 && inputs[from].is_donatable() && inputs[from].flags().row_contiguous &&
        inputs[from].nbytes() == o.nbytes()) {
      o.copy_shared_buffer(inputs[from]);
    } else {
      o.set_data(mx::allocator::malloc(o.nbytes()));
      if (from >= 0)
        copies.push_back({inputs[from].data<char>(), o.data<char>(), inputs[from].nbytes()});
    }
  }
  encoder.dispatch([copies, run = bind_(inputs, outputs)] {
    for (auto& c : copies) std::memcpy(c.to, c.from, c.bytes);
    run();
  });
}

void Kernel::eval_gpu(const std::vector<array>&, std::vector<array>&) {
  throw Error(ErrorKind::internal, std::string(name_) + ": a CPU operation on a GPU's stream");
}

std::vector<array> Kernel::vjp(const std::vector<array>& primals,
                               const std::vector<array>& cotangents,
                               const std::vector<int>& argnums,
                               const std::vector<array>&) {
  // Through those arguments only: others may be integers.
  auto partial = [&](const std::vector<array>& some) {
    std::vector<array> all = primals;
    for (size_t i = 0; i < argnums.size(); ++i) all[argnums[i]] = some[i];
    return composition_(all);
  };
  std::vector<array> some;
  for (int i : argnums) some.push_back(primals[i]);
  return mx::vjp(partial, some, cotangents).second;
}

std::vector<array> Kernel::jvp(const std::vector<array>& primals,
                               const std::vector<array>& tangents,
                               const std::vector<int>& argnums) {
  auto partial = [&](const std::vector<array>& some) {
    std::vector<array> all = primals;
    for (size_t i = 0; i < argnums.size(); ++i) all[argnums[i]] = some[i];
    return composition_(all);
  };
  std::vector<array> some;
  for (int i : argnums) some.push_back(primals[i]);
  return mx::jvp(partial, some, tangents).second;
}

std::pair<std::vector<array>, std::vector<int>> Kernel::vmap(const std::vector<array>& inputs,
                                                             const std::vector<int>& axes) {
  auto outputs = mx::vmap(composition_, axes)(inputs);
  return {outputs, std::vector<int>(outputs.size(), 0)};
}

array dense_float(const array& x) {
  return mx::contiguous(x.dtype() == mx::float32 ? x : mx::astype(x, mx::float32));
}
const float* floats(const array& x) { return x.data<float>(); }
float* floats(array& x) { return x.data<float>(); }

std::vector<array> kernel(const char* name,
                          std::vector<std::pair<mx::Shape, mx::Dtype>> outputs,
                          std::vector<array> inputs,
                          Kernel::Run run,
                          Composition composition,
                          std::vector<int> reuse) {
  auto node = std::make_shared<Kernel>(name, std::move(run), std::move(composition));
  node->reuse = std::move(reuse);
  return nodes(std::move(node), std::move(outputs), std::move(inputs));
}

std::vector<array> nodes(std::shared_ptr<Kernel> node,
                         std::vector<std::pair<mx::Shape, mx::Dtype>> outputs,
                         std::vector<array> inputs) {
  std::vector<mx::Shape> shapes;
  std::vector<mx::Dtype> dtypes;
  for (auto& [shape, dtype] : outputs) shapes.push_back(shape), dtypes.push_back(dtype);
  return array::make_arrays(std::move(shapes), dtypes, std::move(node), std::move(inputs));
}

array kernel(const char* name,
             mx::Shape shape,
             std::vector<array> inputs,
             Kernel::Run run,
             Composition composition,
             mx::Dtype dtype) {
  return kernel(name,
                {{std::move(shape), dtype}},
                std::move(inputs),
                std::move(run),
                std::move(composition))[0];
}

}  // namespace mlxcpp::ops::detail
