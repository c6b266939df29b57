// What the device means for models, and which MLX it is that runs.
#include "mlxcpp/ops/device.h"

#include <mlx/device.h>
#include <mlx/dtype.h>

#include <gtest/gtest.h>

#include <cstdio>

namespace mlxcpp::ops {
namespace {

TEST(Mlx, that_runs_is_exactly_the_pinned_version) {
  std::printf("MLX %s on %s\n", mlx_version().c_str(), device_name().c_str());
  EXPECT_EQ(mlx_version(), MLXCPP_MLX_VERSION);
}

TEST(Device, half_types_compute_in_float32_on_the_cpu_only) {
  for (mx::Dtype half : {mx::float16, mx::bfloat16})
    EXPECT_EQ(activation_dtype(half), on_cpu() ? mx::float32 : half);
  EXPECT_EQ(activation_dtype(mx::float32), mx::float32);
}

TEST(Device, is_named_cpu_when_it_is_one) {
  EXPECT_EQ(on_cpu(), mx::default_device() == mx::Device(mx::Device::cpu));
  EXPECT_EQ(device_name() == "cpu", on_cpu());
}

}  // namespace
}  // namespace mlxcpp::ops
