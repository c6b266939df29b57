#include "apps/bench/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace mlxcpp::apps::bench {
namespace {

constexpr double kWidth = 460, kHeight = 300, kLeft = 64, kRight = 16, kTop = 70, kBottom = 48;
constexpr const char* kColours[] = {
    "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f"};

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else if (static_cast<unsigned char>(c) >= 0x20)
      out += c;
  }
  return out;
}

std::string text(double x, double y, const std::string& what, const char* more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, more, escaped(what));
}

std::string line(double x1, double y1, double x2, double y2, const std::string& colour) {
  return fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n",
      x1,
      y1,
      x2,
      y2,
      colour);
}

/// A round number: steps of it make at most five.
double step(double top) {
  double power = std::pow(10, std::floor(std::log10(std::max(top, 1e-3) / 5)));
  for (double factor : {1.0, 2.0, 5.0, 10.0})
    if (top / (factor * power) <= 5) return factor * power;
  return 10 * power;
}

using Series = std::map<std::string, std::vector<const Measured*>>;

struct Panel {
  const char* title;
  Series series;
  std::vector<int> depths;  // ascending; a column each
  double top = 0;           // of the axis
  double left;              // where the panel begins

  double x(int depth) const {
    auto at = std::find(depths.begin(), depths.end(), depth) - depths.begin();
    double column = (kWidth - kLeft - kRight) / double(depths.size());
    return left + kLeft + column * (double(at) + 0.5);
  }
  double y(double rate) const {
    return kHeight - kBottom - rate / top * (kHeight - kTop - kBottom);
  }
};

Panel make_panel(bool prefill, double left, const std::vector<Measured>& results) {
  Panel p{.title = prefill ? "Prompt" : "Decode", .left = left};
  bool several_threads = std::any_of(results.begin(), results.end(), [&](auto& m) {
    return m.what.threads != results.front().what.threads;
  });
  for (auto& m : results) {
    if (m.what.prefill != prefill) continue;
    std::string label = m.what.test();
    if (m.what.batch > 1) label += fmt::format(", {} rows", m.what.batch);
    if (several_threads) label += fmt::format(", {} threads", m.what.threads);
    p.series[label].push_back(&m);
    if (std::find(p.depths.begin(), p.depths.end(), m.what.depth) == p.depths.end())
      p.depths.push_back(m.what.depth);
    p.top = std::max(p.top, m.tokens_per_second().max);
  }
  std::sort(p.depths.begin(), p.depths.end());
  p.top = std::max(p.top * 1.05, 1e-9);
  return p;
}

std::string axes(const Panel& p) {
  double left = p.left + kLeft, right = p.left + kWidth - kRight, floor = kHeight - kBottom;
  std::string out = text(left, kTop - 12, std::string(p.title) + ": tokens/s over depth");
  for (double v = 0, by = step(p.top); v <= p.top; v += by) {
    out += line(left, p.y(v), right, p.y(v), v == 0 ? "#333" : "#ddd");
    out += text(left - 6, p.y(v) + 4, fmt::format("{:g}", v), "text-anchor=\"end\"");
  }
  for (int depth : p.depths)
    out += text(p.x(depth), floor + 16, std::to_string(depth), "text-anchor=\"middle\"");
  return out;
}

std::string draw(const Panel& p) {
  std::string out = axes(p);
  std::size_t index = 0;
  for (auto& [label, points] : p.series) {
    std::string colour = kColours[index % std::size(kColours)], path;
    // Beside each other, so that equal rates can be told apart.
    double shift = 5 * (double(index) - (double(p.series.size()) - 1) / 2);
    for (auto* m : points) {
      auto rate = m->tokens_per_second();
      double x = p.x(m->what.depth) + shift;
      path += fmt::format("{:.1f},{:.1f} ", x, p.y(rate.median));
      out += line(x, p.y(rate.min), x, p.y(rate.max), colour);
      out += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"><title>{} at {}: {:.1f} "
          "({:.1f} "
          "to {:.1f}) tokens/s</title></circle>\n",
          x,
          p.y(rate.median),
          colour,
          escaped(label),
          m->what.depth,
          rate.median,
          rate.min,
          rate.max);
    }
    out += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\"/>\n", path, colour);
    double x = p.left + kLeft + double(index) * 110;
    out += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", x, kHeight - 12, colour);
    out += text(x + 8, kHeight - 8, label);
    ++index;
  }
  return out;
}

}  // namespace

std::string plot(const Surroundings& s, const std::vector<Measured>& results) {
  std::vector<Panel> panels;
  for (bool prefill : {true, false}) {
    auto panel = make_panel(prefill, kWidth * double(panels.size()), results);
    if (!panel.series.empty()) panels.push_back(std::move(panel));
  }
  double width = kWidth * double(std::max<std::size_t>(panels.size(), 1));
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:g}\" height=\"{1:g}\" viewBox=\"0 0 "
      "{0:g} "
      "{1:g}\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      width,
      kHeight);
  out += text(16, 22, s.model, "font-size=\"14\" font-weight=\"bold\"");
  out += text(16, 38, s.cpu + ", " + (s.own_kernels ? s.tier : "MLX's own operations"));
  for (auto& p : panels) out += draw(p);
  return out + "</svg>\n";
}

}  // namespace mlxcpp::apps::bench
