// Results as a picture: tokens a second over the depth.
#pragma once

#include "apps/bench/report.h"

#include <string>
#include <vector>

namespace mlxcpp::apps::bench {

/// An SVG document: a panel for prompts and one for decoding, a line for each test, with bars from
/// the slowest to the fastest trial.
std::string plot(const Surroundings& s, const std::vector<Measured>& results);

}  // namespace mlxcpp::apps::bench
