// The picture of a run: six panels of self-drawn SVG, colours by server, strokes by percentile.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "client/load_report.h"

namespace lockstep::client {
namespace {

constexpr double kWidth = 1020, kHeight = 660;
constexpr double kPanelWidth = 260, kPanelHeight = 190;

constexpr const char* kStyle = R"(<style>
svg{--ground:#fff;--ink:#1a1c20;--soft:#667080;--grid:#e3e6ea;--a:#1f66d1;--b:#d1611f}
@media(prefers-color-scheme:dark){svg{--ground:#15181d;--ink:#e8eaee;--soft:#98a2b0;--grid:#2b3038;--a:#6ea8ff;--b:#ff9d5c}}
text{font:12px system-ui,sans-serif;fill:var(--ink)}
.soft{fill:var(--soft);font-size:11px}.title{font-weight:600}
.ground{fill:var(--ground)}.grid{stroke:var(--grid);stroke-width:1}
.line{fill:none;stroke-width:2;stroke-linejoin:round}.p90{stroke-width:1.4}.p99{stroke-width:1.4;stroke-dasharray:5 3}
.s0{stroke:var(--a)}.s1{stroke:var(--b)}.f0{fill:var(--a)}.f1{fill:var(--b)}
</style>
)";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  }
  return out;
}

// A round number at or above `value`, and how many parts it falls into.
std::pair<double, int> round_top(double value) {
  if (!(value > 0)) return {1, 4};
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const auto& [step, parts] :
       {std::pair(1.0, 4), {2.0, 4}, {2.5, 5}, {4.0, 4}, {5.0, 5}, {8.0, 4}, {10.0, 5}}) {
    if (value <= step * power * 1.0000001) return {step * power, parts};
  }
  return {10 * power, 5};
}

std::string number(double value) { return fmt::format("{:.4g}", value); }

struct Curve {
  int server = 0;
  std::string stroke;        // class of the percentile: "p50"
  std::vector<double> x, y;  // x in [0, 1]
};

// One chart: axes, grid, curves; what stands below is `ticks` at x in [0, 1].
std::string panel(double left, double top, const std::string& title,
                  const std::vector<std::pair<double, std::string>>& ticks,
                  const std::vector<Curve>& curves) {
  double most = 0;
  for (const Curve& curve : curves) {
    for (const double y : curve.y) most = std::max(most, y);
  }
  const auto [ceiling, parts] = round_top(most);
  const auto at_x = [&](double x) { return left + x * kPanelWidth; };
  const double limit = ceiling;
  const auto at_y = [&, limit](double y) { return top + kPanelHeight * (1 - y / limit); };
  std::string svg = fmt::format("<text class=\"title\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", left,
                                top - 12, escaped(title));
  for (int i = 0; i <= parts; ++i) {
    const double y = ceiling * i / parts;
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
        "<text class=\"soft\" text-anchor=\"end\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
        left, left + kPanelWidth, at_y(y), at_y(y), left - 6, at_y(y) + 4, number(y));
  }
  for (const auto& [x, label] : ticks) {
    svg += fmt::format(
        "<text class=\"soft\" text-anchor=\"middle\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
        at_x(x), top + kPanelHeight + 16, escaped(label));
  }
  for (const Curve& curve : curves) {
    std::string points;
    for (size_t i = 0; i < curve.x.size(); ++i) {
      points += fmt::format("{:.1f},{:.1f} ", at_x(curve.x[i]), at_y(curve.y[i]));
    }
    svg += fmt::format("<polyline class=\"line s{} {}\" points=\"{}\"/>\n", curve.server,
                       curve.stroke, points);
    // A level is a measured point; percentiles are a curve.
    if (curve.x.size() > 12) continue;
    for (size_t i = 0; i < curve.x.size(); ++i) {
      svg += fmt::format("<circle class=\"f{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"/>\n",
                         curve.server, at_x(curve.x[i]), at_y(curve.y[i]),
                         curve.stroke == "p50" ? 3 : 2);
    }
  }
  return svg;
}

double level_x(size_t index, size_t n) {
  return n < 2 ? 0.5 : 0.04 + 0.92 * static_cast<double>(index) / static_cast<double>(n - 1);
}

using OfSummary = std::function<double(const LevelSummary&)>;

std::vector<Curve> over_load(const LoadReport& report, const std::string& stroke,
                             const OfSummary& value) {
  std::vector<Curve> curves;
  for (size_t server = 0; server < report.servers.size(); ++server) {
    for (size_t i = 0; i < report.levels.size(); ++i) {
      // No line leads from requests at once to arrivals a second.
      const bool begins = i == 0 || report.levels[i].load.kind != report.levels[i - 1].load.kind;
      if (begins) curves.push_back({static_cast<int>(server), stroke, {}, {}});
      const LevelSummary& all = report.levels[i].results[server].all;
      if (all.n_ok == 0) continue;
      curves.back().x.push_back(level_x(i, report.levels.size()));
      curves.back().y.push_back(value(all));
    }
  }
  return curves;
}

struct Latency {
  const char* name;
  const Distribution& (*of)(const LevelSummary&);
};
constexpr std::array<Latency, 3> kLatencies = {{
    {"time to the first token, ms",
     [](const LevelSummary& s) -> const Distribution& { return s.ttft; }},
    {"between tokens, ms", [](const LevelSummary& s) -> const Distribution& { return s.itl; }},
    {"whole answer, ms", [](const LevelSummary& s) -> const Distribution& { return s.e2e; }},
}};

std::vector<Curve> latency_over_load(const LoadReport& report, const Latency& latency) {
  std::vector<Curve> curves;
  for (const auto& [stroke, q] : {std::pair("p50", 0.5), {"p90", 0.9}, {"p99", 0.99}}) {
    const double quantile = q;
    auto more = over_load(report, stroke, [&, quantile](const LevelSummary& s) {
      return latency.of(s).quantile(quantile);
    });
    curves.insert(curves.end(), more.begin(), more.end());
  }
  return curves;
}

std::vector<Curve> percentiles(const LoadReport& report, const Latency& latency) {
  std::vector<Curve> curves;
  for (size_t server = 0; server < report.servers.size(); ++server) {
    const Distribution& d = latency.of(report.levels.back().results[server].all);
    Curve curve{static_cast<int>(server), "p50", {}, {}};
    for (int p = 0; p <= 100 && d.size() > 0; ++p) {
      curve.x.push_back(p / 100.0);
      curve.y.push_back(d.quantile(p / 100.0));
    }
    curves.push_back(std::move(curve));
  }
  return curves;
}

std::string legend(const LoadReport& report) {
  std::string svg;
  for (size_t i = 0; i < report.servers.size(); ++i) {
    const double y = 26 + 20 * static_cast<double>(i);
    svg += fmt::format(
        "<circle class=\"f{}\" cx=\"56\" cy=\"{:.1f}\" r=\"5\"/><text x=\"68\" "
        "y=\"{:.1f}\">{}</text>\n",
        i, y - 4, y,
        escaped(fmt::format("{}  {}, {}", report.servers[i].label, report.servers[i].model,
                            report.servers[i].url)));
  }
  const std::array<const char*, 3> strokes = {"p50", "p90", "p99"};
  for (size_t i = 0; i < strokes.size(); ++i) {
    const double x = 800 + 70 * static_cast<double>(i);
    svg += fmt::format(
        "<line class=\"line s0 {}\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"22\" y2=\"22\"/><text "
        "class=\"soft\" "
        "x=\"{:.1f}\" y=\"26\">{}</text>\n",
        strokes[i], x, x + 26, x + 32, strokes[i]);
  }
  return svg;
}

}  // namespace

std::string load_svg(const LoadReport& report) {
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:g} {1:g}\" width=\"{0:g}\" "
      "height=\"{1:g}\" role=\"img\">\n<title>Latency and throughput under load</title>\n{2}"
      "<rect class=\"ground\" width=\"{0:g}\" height=\"{1:g}\"/>\n",
      kWidth, kHeight, kStyle);
  svg += legend(report);
  std::vector<std::pair<double, std::string>> loads, shares;
  for (size_t i = 0; i < report.levels.size(); ++i) {
    const LoadLevel& load = report.levels[i].load;
    const bool is_open = load.kind == LoadLevel::Kind::kOpen;
    loads.emplace_back(level_x(i, report.levels.size()),
                       fmt::format("{:g}{}", load.value, is_open ? "/s" : ""));
  }
  shares = {{0, "least"}, {0.5, "p50"}, {0.9, "p90"}, {1, "most"}};
  const auto left = [](int column) { return 56 + 328.0 * column; };
  constexpr double kUpper = 96, kLower = 410;
  svg += fmt::format(
      "<text class=\"soft\" x=\"{:.1f}\" y=\"{:.1f}\">load: requests at once; with /s, arrivals a "
      "second</text>\n",
      left(0), kUpper + kPanelHeight + 36);
  svg +=
      panel(left(0), kUpper, kLatencies[0].name, loads, latency_over_load(report, kLatencies[0]));
  svg +=
      panel(left(1), kUpper, kLatencies[1].name, loads, latency_over_load(report, kLatencies[1]));
  svg += panel(
      left(2), kUpper, "output tokens a second", loads,
      over_load(report, "p50", [](const LevelSummary& s) { return s.output_tokens_per_s(); }));
  for (int column = 0; column < 3; ++column) {
    const Latency& latency = kLatencies[static_cast<size_t>(column)];
    svg += panel(left(column), kLower,
                 fmt::format("{}, at {}", latency.name, report.levels.back().load.label()), shares,
                 percentiles(report, latency));
  }
  return svg + "</svg>\n";
}

}  // namespace lockstep::client
