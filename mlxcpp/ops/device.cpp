#include "mlxcpp/ops/device.h"

#include "mlxcpp/ops/cpu/features.h"

#include <mlx/device.h>
#include <mlx/version.h>

namespace mlxcpp::ops {

bool on_cpu() { return mx::default_device().type == mx::Device::cpu; }

bool own_kernels() { return on_cpu() && cpu::enabled(); }

bool may_round() { return own_kernels() && !cpu::machine().deterministic; }

mx::Dtype activation_dtype(mx::Dtype stored) {
  bool half = stored == mx::float16 || stored == mx::bfloat16;
  return half && on_cpu() ? mx::float32 : stored;
}

std::string device_name() {
  if (on_cpu()) return "cpu";
  const auto& info = mx::device_info(mx::default_device());
  auto it = info.find("device_name");
  if (it != info.end())
    if (auto* name = std::get_if<std::string>(&it->second)) return *name;
  return "gpu";
}

std::string mlx_version() { return mx::version(); }

}  // namespace mlxcpp::ops
