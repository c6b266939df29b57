// What the environment may ask for, and that a tier is never used that the CPU lacks.
#include "mlxcpp/ops/cpu/features.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/cpu/pool.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

namespace mlxcpp::cpu {
namespace {

/// One variable of the environment, put back at the end.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (auto* old = std::getenv(name)) old_ = old;
    setenv(name, value, 1);
  }
  ~Variable() { old_ ? setenv(name_, old_->c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

std::string refusal(const char* name, const char* value) {
  Variable v(name, value);
  try {
    Settings::read();
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

TEST(Settings, come_from_the_environment) {
  Variable a("MLXCPP_CPU", "scalar"), b("MLXCPP_THREADS", "3"), c("MLXCPP_OPS", "mlx"),
      d("MLXCPP_DETERMINISTIC", "1");
  auto s = Settings::read();
  EXPECT_EQ(s.tier, Tier::scalar);
  EXPECT_EQ(s.threads, 3);
  EXPECT_TRUE(s.mlx);
  EXPECT_TRUE(s.deterministic);
}

TEST(Settings, say_what_a_variable_may_be) {
  EXPECT_NE(refusal("MLXCPP_CPU", "mmx").find("MLXCPP_CPU: bad value; expected one of scalar"),
            std::string::npos);
  for (auto* threads : {"0", "-1", "1000000000", "two", "2x", "99999999999999999999"})
    EXPECT_NE(refusal("MLXCPP_THREADS", threads)
                  .find("MLXCPP_THREADS: bad value; expected a number from 1 to 1024"),
              std::string::npos)
        << threads;
  EXPECT_NE(refusal("MLXCPP_OPS", "cuda").find("MLXCPP_OPS: bad value"), std::string::npos);
  EXPECT_NE(refusal("MLXCPP_DETERMINISTIC", "yes").find("MLXCPP_DETERMINISTIC: bad value"),
            std::string::npos);
  EXPECT_EQ(refusal("MLXCPP_THREADS", ""), "");
}

TEST(Machine, runs_the_best_tier_that_it_has) {
  use({});
  auto& m = machine();
  ASSERT_NE(m.kernels, nullptr);
  EXPECT_GE(m.threads, 1);
  EXPECT_EQ(Pool::instance().threads(), m.threads);
  bool after = false;
  for (auto& t : m.tiers) {
    if (t.standing == Standing::absent)
      std::cout << "SKIPPED: tier " << name_of(t.tier) << ": " << t.note << "\n";
    EXPECT_NE(t.standing, Standing::failed) << name_of(t.tier) << ": " << t.note;
    EXPECT_TRUE(!after || t.standing != Standing::able) << "a better tier is not used";
    after |= t.standing == Standing::active;
  }
  EXPECT_TRUE(after);
}

TEST(Machine, may_be_told_to_use_a_lower_tier) {
  use({});
  auto tiers = machine().tiers;
  for (auto& t : tiers) {
    if (t.standing == Standing::absent) {
      try {
        use({.tier = t.tier});
        FAIL() << name_of(t.tier);
      } catch (const InputError& e) {
        EXPECT_NE(std::string(e.what()).find("expected one of scalar"), std::string::npos);
      }
      continue;
    }
    use({.tier = t.tier, .threads = 3});
    EXPECT_EQ(machine().tier, t.tier);
    EXPECT_EQ(Pool::instance().threads(), 3);
  }
  use({});
}

TEST(Machine, keeps_what_it_was_when_a_tier_is_refused) {
  use({.tier = Tier::scalar});
  Tier absent = Tier::scalar;
  for (auto& t : machine().tiers)
    if (t.standing == Standing::absent) absent = t.tier;
#if defined(__x86_64__)
  absent = Tier::neon;
#endif
  EXPECT_THROW(use({.tier = absent}), InputError);
  EXPECT_EQ(machine().tier, Tier::scalar);
  use({});
}

TEST(Tiers, have_names_that_are_found_again) {
  for (int i = 0; i <= int(Tier::i8mm); ++i) EXPECT_EQ(tier_named(name_of(Tier(i))), Tier(i));
  EXPECT_FALSE(tier_named("sse9"));
}

}  // namespace
}  // namespace mlxcpp::cpu
