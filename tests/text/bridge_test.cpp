// What becomes of failures in Rust.
#include "mlxcpp_bridge/src/lib.rs.h"
#include "tests/text/support.h"

#include "rust/cxx.h"
#include <gtest/gtest.h>

namespace mlxcpp::text {
namespace {

TEST(Bridge, APanicIsAnExceptionAndPrintsNothing) {
  ::testing::internal::CaptureStderr();
  const std::string message = testing::message_of<rust::Error>([] { bridge::panic_for_test(); });
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(message, "internal error: on purpose");
}

}  // namespace
}  // namespace mlxcpp::text
