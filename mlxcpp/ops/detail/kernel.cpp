#include "mlxcpp/ops/detail/kernel.h"

#include "mlxcpp/base/error.h"

#include <mlx/allocator.h>
#include <mlx/backend/cpu/encoder.h>
#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <cstring>

namespace mlxcpp::ops::detail {
namespace {

/// All of x, row by row wherever its numbers lie.
void copy(const array& x, char* out) {
  if (x.flags().row_contiguous) {
    std::memcpy(out, x.data<char>(), x.nbytes());
    return;
  }
  size_t size = x.itemsize();
  std::vector<int> index(x.ndim());
  for (size_t i = 0; i < x.size(); ++i, out += size) {
    long at = 0;
    for (size_t axis = 0; axis < index.size(); ++axis) at += index[axis] * long(x.strides()[axis]);
    std::memcpy(out, x.data<char>() + at * long(size), size);
    for (int axis = int(index.size()) - 1; axis >= 0 && ++index[axis] == x.shape(axis); --axis)
      index[axis] = 0;
  }
}

/// Each output of a node holds its inputs, so none of several could give its memory away.  Those of
/// the others are not looked at any more; unless a gradient follows, which keeps the inputs anyway.
void let_go(const std::vector<array>& inputs, std::vector<array>& outputs) {
  for (auto& o : outputs)
    if (o.is_tracer()) return;
  for (auto& o : outputs)
    if (&o.inputs() != &inputs) o.inputs().clear();
}

}  // namespace

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
  if (!reuse.empty()) let_go(inputs, outputs);
  std::vector<std::pair<array, char*>> copies;
  for (size_t i = 0; i < outputs.size(); ++i) {
    int from = i < reuse.size() ? reuse[i] : -1;
    array& o = outputs[i];
    if (from >= 0 && inputs[from].is_donatable() && inputs[from].flags().row_contiguous &&
        inputs[from].nbytes() == o.nbytes()) {
      o.copy_shared_buffer(inputs[from]);
    } else {
      o.set_data(mx::allocator::malloc(o.nbytes()));
      if (from >= 0) copies.emplace_back(array::unsafe_weak_copy(inputs[from]), o.data<char>());
    }
  }
  encoder.dispatch([copies, run = bind_(inputs, outputs)] {
    for (auto& [from, to] : copies) copy(from, to);
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
