// A benchmark's results as lines: a table for people, JSON for programs.
#pragma once

#include "apps/bench/cases.h"
#include "apps/bench/work.h"

#include <cstdint>
#include <string>
#include <vector>

namespace mlxcpp::apps::bench {

/// What holds for the whole run.
struct Surroundings {
  std::string model, model_type, cpu, tier;
  bool own_kernels = true, deterministic = false;
  std::uint64_t parameters = 0, weight_bytes = 0;
  double load_s = 0, first_token_s = 0;
  int first_prompt = 0;  // tokens before the first token
  int chunk = 0, trials = 0;
};

struct Spread {
  double median = 0, min = 0, max = 0;
};
Spread spread(std::vector<double> values);  // at least one

/// What the trials of a case gave.
struct Measured {
  Case what;
  Work work;
  std::vector<double> seconds;
  double read_rate = 0, multiply_rate = 0;  // of the machine, in bytes and products a second
  std::uint64_t peak_memory = 0;

  Spread tokens_per_second() const;  // of all rows together
  double limit_s() const;            // the least that reading and multiplying take
  bool read_bound() const;           // reading is what takes that
  double ratio_to_limit() const;     // 1: at the limit
};

std::string head(const Surroundings& s);  // some lines, and the head of the table
std::string row(const Measured& m);
std::string json_line(const Surroundings& s, const Measured& m);

}  // namespace mlxcpp::apps::bench
