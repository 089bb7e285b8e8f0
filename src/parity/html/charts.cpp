#include "parity/html/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "parity/anatomy.h"
#include "parity/format.h"
#include "parity/html/html.h"
#include "parity/judge.h"

namespace lockstep::parity {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
// Columns of a picture; more tokens share one, which shows the worst of them.
constexpr int64_t kMostColumns = 160;

struct DepthRow {
  std::string label;
  const TapDiff* tap = nullptr;
};

bool is_landmark(const TapDiff& tap) {
  const TapInfo& info = tap.port->info;
  const Landmark landmark = dissect(info.path).landmark;
  return info.role == TapRole::kOutput && info.index == 0 && info.call == 0 &&
         (landmark == Landmark::kEmbedding || landmark == Landmark::kLayer ||
          landmark == Landmark::kFinalNorm);
}

bool is_shown(const TapDiff& tap) {
  const std::string& path = tap.port->info.path;
  if (path.ends_with("_cache") || path.ends_with("_state")) return false;
  return is_floating(tap.port->view.dtype) && is_floating(tap.reference->view.dtype) &&
         !dissect(path).shared;
}

// One row a depth: its landmark, or where that was not recorded its worst tap.
std::vector<DepthRow> depth_rows(const RunDiff& run) {
  std::vector<DepthRow> rows;
  for (const TapDiff& tap : run.taps) {
    const std::string label = depth_of(tap.port->info.path);
    if (label.empty() || label == "logits" || !is_shown(tap)) continue;
    const auto at = std::ranges::find(rows, label, &DepthRow::label);
    if (at == rows.end()) {
      rows.push_back({label, &tap});
    } else if (is_landmark(tap) || (!is_landmark(*at->tap) && tap.ratio > at->tap->ratio)) {
      at->tap = &tap;
    }
  }
  const auto rank = [](const DepthRow& row) {
    const int layer = dissect(row.tap->port->info.path).layer;
    const int part = row.label == "embedding" ? 0 : row.label == "final norm" ? 2 : 1;
    return std::pair(part, layer);
  };
  std::ranges::stable_sort(rows, {}, rank);
  if (run.logits) rows.push_back({"logits", &*run.logits});
  return rows;
}

double ratio_of(const TapDiff& tap, const TokenMetrics& token) {
  if (!tap.floor) return kNone;
  const double g = token.relative_l2();
  if (g == 0) return 0;
  return tap.floor->token > 0 ? g / tap.floor->token / token_band(tap)
                              : std::numeric_limits<double>::infinity();
}

struct Cell {
  double ratio = kNone;
  std::string_view heat = "hx";
  int64_t token = 0;  // of the worst in it
};

std::vector<Cell> cells_of(const TapDiff& tap, int64_t first_token) {
  const auto n = std::ssize(tap.metrics.tokens);
  const int64_t n_cells = std::min(n, kMostColumns);
  std::vector<Cell> cells(static_cast<size_t>(n_cells));
  for (int64_t t = 0; t < n; ++t) {
    Cell& cell = cells[static_cast<size_t>(t * n_cells / n)];
    const double ratio = ratio_of(tap, tap.metrics.tokens[static_cast<size_t>(t)]);
    if (ratio <= cell.ratio) continue;
    cell = {ratio, heat_class(tap, ratio), first_token + t};
  }
  return cells;
}

std::string cell_title(const std::string& label, const Cell& cell) {
  if (std::isnan(cell.ratio)) return label + ": not judged";
  return fmt::format("{}, token {}: {} of the floor", label, cell.token, short_number(cell.ratio));
}

// A row's cells, neighbours of one colour as one rectangle that tells the worst of them.
std::string row_of_cells(const std::string& label, const std::vector<Cell>& cells, size_t first,
                         size_t y) {
  std::string out;
  for (size_t begin = 0; begin < cells.size();) {
    size_t end = begin, worst = begin;
    while (end < cells.size() && cells[end].heat == cells[begin].heat) {
      if (cells[end].ratio > cells[worst].ratio) worst = end;
      ++end;
    }
    out += fmt::format(
        "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"1\"><title>{}</title></rect>\n",
        cells[begin].heat, first + begin, y, end - begin,
        escape_html(cell_title(label, cells[worst])));
    begin = end;
  }
  return out;
}

const char* kLegend =
    "<p class=\"legend\"><i class=\"key h0\"></i> within the floor <i class=\"key h1\"></i> "
    "watched "
    "<i class=\"key h2\"></i> diverged <i class=\"key h3\"></i> 10 <i class=\"key h4\"></i> 100 "
    "<i class=\"key h5\"></i> 1000 times and more <i class=\"key hx\"></i> not judged</p>\n";

bool is_marked(const std::string& label, const Marks& marks) {
  return std::ranges::any_of(marks.sources,
                             [&](const std::string& path) { return depth_of(path) == label; });
}

// At most one label a line of text.
std::string row_labels(const std::vector<DepthRow>& rows, double row_height, const Marks& marks) {
  constexpr double kLine = 13;
  std::string out;
  double free_from = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const double middle = (static_cast<double>(i) + 0.5) * row_height;
    const bool marked = is_marked(rows[i].label, marks);
    const bool is_end = i == 0 || i + 1 == rows.size();
    if (middle - kLine / 2 < free_from && !is_end && !marked) continue;
    if (middle - kLine / 2 < free_from && i > 0) continue;
    free_from = middle + kLine / 2;
    out += fmt::format("<span class=\"{}\" style=\"top:{:.2f}px\">{}</span>", marked ? "at" : "",
                       middle, escape_html(rows[i].label));
  }
  return out;
}

struct Column {
  double at;  // share of the width
  std::string label;
};

// Labels below a picture: the first at its left end, the last at its right, others where there is
// room beside the one before.
std::string axis_labels(const std::vector<Column>& columns) {
  constexpr double kRoom = 0.14;
  std::string out;
  double last = -1;
  for (size_t i = 0; i < columns.size(); ++i) {
    const Column& column = columns[i];
    const bool is_first = i == 0, is_last = i + 1 == columns.size();
    if (!is_first && !is_last && (column.at - last < kRoom || column.at > 1 - kRoom)) continue;
    if (is_last && !is_first && column.at - last < kRoom) continue;
    last = column.at;
    out += fmt::format("<span class=\"{}\" style=\"left:{:.2f}%\">{}</span>",
                       is_first  ? "first"
                       : is_last ? "last"
                                 : "",
                       100 * column.at, escape_html(column.label));
  }
  return out;
}

// Five tokens of a run whose cells begin at `column` of `n_columns`, and its last.
void add_token_columns(std::vector<std::pair<size_t, int64_t>>& columns, size_t column,
                       size_t n_cells, int64_t first, int64_t n) {
  const int64_t step = std::max<int64_t>(1, n / 5);
  for (int64_t t = 0; t < n; t += t + step >= n && t + 1 < n ? n - 1 - t : step) {
    columns.emplace_back(column + static_cast<size_t>(t * static_cast<int64_t>(n_cells) / n),
                         first + t);
  }
}

std::vector<Column> placed(const std::vector<std::pair<size_t, int64_t>>& columns,
                           size_t n_columns) {
  std::vector<Column> placed;
  for (const auto& [column, token] : columns) {
    placed.push_back({(static_cast<double>(column) + 0.5) / static_cast<double>(n_columns),
                      std::to_string(token)});
  }
  return placed;
}

}  // namespace

std::string depth_of(const std::string& path) {
  if (path == "logits") return "logits";
  const Anatomy anatomy = dissect(path);
  if (anatomy.layer >= 0) return fmt::format("layer {}", anatomy.layer);
  switch (anatomy.landmark) {
    case Landmark::kEmbedding:
      return "embedding";
    case Landmark::kFinalNorm:
    case Landmark::kBackbone:
      return "final norm";
    case Landmark::kHead:
      return "logits";
    default:
      return {};
  }
}

std::vector<RunGroup> group_runs(const DiffReport& report) {
  std::vector<RunGroup> groups;
  for (const RunDiff& run : report.runs) {
    const auto at = std::ranges::find_if(groups, [&](const RunGroup& group) {
      return group.front()->dtype == run.dtype &&
             group.front()->port->info.prompt == run.port->info.prompt;
    });
    if (at == groups.end()) {
      groups.push_back({&run});
    } else {
      at->push_back(&run);
    }
  }
  for (RunGroup& group : groups) {
    std::ranges::stable_sort(group, {}, [](const RunDiff* run) { return run->port->info.step; });
  }
  return groups;
}

std::string_view heat_class(const TapDiff& tap, double ratio) {
  if (std::isnan(ratio)) return "hx";
  if (ratio <= tap.bands.watch) return "h0";
  if (ratio <= tap.bands.diverged) return "h1";
  if (ratio < 10) return "h2";
  if (ratio < 100) return "h3";
  return ratio < 1000 ? "h4" : "h5";
}

std::string heat_map_html(const RunGroup& group, const Marks& marks) {
  const std::vector<DepthRow> rows = depth_rows(*group.front());
  std::vector<std::string> lines(rows.size());
  std::vector<std::pair<size_t, int64_t>> columns;
  size_t n_columns = 0;
  for (const RunDiff* run : group) {
    size_t width = 0;
    for (const DepthRow& row : depth_rows(*run)) {
      const auto line = std::ranges::find(rows, row.label, &DepthRow::label);
      if (line == rows.end() || row.tap->metrics.tokens.empty()) continue;
      const auto n = std::ssize(row.tap->metrics.tokens);
      const int64_t first = std::ssize(run->port->info.prompt_ids) - n;
      const std::vector<Cell> cells = cells_of(*row.tap, first);
      const auto y = static_cast<size_t>(line - rows.begin());
      lines[y] += row_of_cells(row.label, cells, n_columns, y);
      if (width == 0) add_token_columns(columns, n_columns, cells.size(), first, n);
      width = std::max(width, cells.size());
    }
    n_columns += width;
  }
  if (n_columns == 0) return {};
  const double row_height = std::clamp(560.0 / static_cast<double>(rows.size()), 5.0, 20.0);
  std::string out = fmt::format(
      "<div class=\"chart\"><div class=\"rows\">{}</div>\n<svg class=\"heat\" role=\"img\" "
      "aria-label=\"error over floor, depth by token\" viewBox=\"0 0 {} {}\" "
      "preserveAspectRatio=\"none\" style=\"height:{:.0f}px\">\n",
      row_labels(rows, row_height, marks), n_columns, rows.size(),
      row_height * static_cast<double>(rows.size()));
  for (const std::string& line : lines) out += line;
  out += "</svg>\n<div></div><div class=\"axis\">" + axis_labels(placed(columns, n_columns)) +
         "</div></div>\n" + kLegend;
  if (group.size() > 1) {
    out += element("p", "small",
                   fmt::format("The prompt has {} tokens; each after them is a decode step.",
                               group.front()->port->info.prompt_ids.size()));
  }
  return out;
}

namespace {

// The logarithmic axis of a curve.
struct LogAxis {
  int low = -8, high = 0;  // decades

  void widen(double least, double most) {
    low = static_cast<int>(std::floor(std::log10(std::max(least, 1e-12))));
    high = static_cast<int>(std::ceil(std::log10(std::max(most, 1e-12))));
    high = std::max(high, low + 1);
  }
  // Downwards, of 100.
  double y(double value) const {
    if (!(value > 0)) return 100;
    const double decade = std::isinf(value) ? high : std::log10(value);
    return std::clamp(100 * (high - decade) / (high - low), 0.0, 100.0);
  }
};

struct Point {
  double x, value;
};

std::string polyline(const char* class_name, const std::vector<Point>& points,
                     const LogAxis& axis) {
  std::string at;
  for (const Point& point : points)
    at += fmt::format("{:.2f},{:.2f} ", point.x, axis.y(point.value));
  return fmt::format("<polyline class=\"{}\" points=\"{}\"/>\n", class_name, at);
}

// A line without length whose round ends are a circle, however the picture is stretched.
std::string dot(const char* class_name, const Point& point, const LogAxis& axis,
                const std::string& title) {
  return fmt::format("<path class=\"{}\" d=\"M{:.2f} {:.2f}h0\"><title>{}</title></path>\n",
                     class_name, point.x, axis.y(point.value), escape_html(title));
}

struct Curve {
  std::vector<Point> g, f, isolated;
  std::vector<std::string> labels;  // parallel to g
  std::vector<Column> columns;
  LogAxis axis;
};

Curve curve_of(const std::vector<DepthRow>& rows, const std::string& dtype,
               const Marks& marks) {
  Curve curve;
  double least = INFINITY, most = 0;
  const auto see = [&](double value) {
    if (!(value > 0) || std::isinf(value)) return;
    least = std::min(least, value);
    most = std::max(most, value);
  };
  for (size_t i = 0; i < rows.size(); ++i) {
    const DepthRow& row = rows[i];
    const double at = (static_cast<double>(i) + 0.5) / static_cast<double>(rows.size());
    curve.g.push_back({100 * at, row.tap->g.total});
    see(row.tap->g.total);
    curve.labels.push_back(row.label);
    if (row.tap->floor) {
      curve.f.push_back({100 * at, row.tap->floor->total});
      see(row.tap->floor->total);
      see(row.tap->floor->total * row.tap->bands.diverged);
    }
    const auto found = marks.isolated.find({dtype, row.label});
    if (found != marks.isolated.end()) {
      curve.isolated.push_back({100 * at, found->second});
      see(found->second);
    }
    const std::string& label = row.label;
    curve.columns.push_back({at, label.starts_with("layer ") ? label.substr(6) : label});
  }
  curve.axis.widen(std::isinf(least) ? 1e-8 : least, most > 0 ? most : 1);
  return curve;
}

std::string floor_band(const Curve& curve) {
  if (curve.f.empty()) return {};
  std::string at;
  for (const Point& point : curve.f) {
    at += fmt::format("{:.2f},{:.2f} ", point.x, curve.axis.y(3 * point.value));
  }
  return fmt::format("<polygon class=\"band\" points=\"{}{:.2f},100 {:.2f},100\"/>\n", at,
                     curve.f.back().x, curve.f.front().x);
}

}  // namespace

std::string curve_html(const RunDiff& run, const Marks& marks) {
  const std::vector<DepthRow> rows = depth_rows(run);
  if (rows.size() < 2) return {};
  const Curve curve = curve_of(rows, run.dtype, marks);
  const LogAxis& axis = curve.axis;
  std::string decades, lines;
  const int step = std::max(1, (axis.high - axis.low + 5) / 6);
  for (int decade = axis.high; decade >= axis.low; decade -= step) {
    const double y = 100.0 * (axis.high - decade) / (axis.high - axis.low);
    decades += fmt::format("<span style=\"top:{:.2f}%\">1e{}</span>", y, decade);
    lines += fmt::format("<path class=\"grid\" d=\"M0 {0:.2f}H100\"/>\n", y);
  }
  std::string out = fmt::format(
      "<div class=\"chart\"><div class=\"rows decades\">{}</div>\n<svg class=\"curve\" "
      "role=\"img\" aria-label=\"error and floor over depth\" viewBox=\"0 0 100 100\" "
      "preserveAspectRatio=\"none\">\n{}{}",
      decades, floor_band(curve), lines);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!is_marked(rows[i].label, marks)) continue;
    out += fmt::format("<path class=\"mark\" d=\"M{0:.2f} 0V100\"/>\n", curve.g[i].x);
  }
  out += polyline("f", curve.f, axis) + polyline("g", curve.g, axis);
  for (const Point& point : curve.isolated) {
    out += dot("i", point, axis, "on the reference's inputs: " + short_number(point.value));
  }
  for (size_t i = 0; i < curve.g.size(); ++i) {
    out += dot("d", curve.g[i], axis, curve.labels[i] + ": " + short_number(curve.g[i].value));
  }
  out += "</svg>\n<div></div><div class=\"axis\">" + axis_labels(curve.columns) + "</div></div>\n";
  out +=
      "<p class=\"legend\"><i class=\"line g\"></i> error in the whole run "
      "<i class=\"line f\"></i> floor <i class=\"key band\"></i> up to three times the floor";
  if (!curve.isolated.empty()) {
    out += " <i class=\"ring\"></i> worst of that depth on the reference's inputs";
  }
  if (!marks.sources.empty()) out += " <i class=\"line mark\"></i> guilty";
  return out + "</p>\n";
}

std::string profile_html(const TapDiff& tap) {
  const auto n = std::ssize(tap.metrics.tokens);
  if (n < 2 || !tap.floor) return {};
  const std::vector<Cell> cells = cells_of(tap, 0);
  double most = 10;
  for (const Cell& cell : cells) {
    if (std::isfinite(cell.ratio)) most = std::max(most, cell.ratio);
  }
  constexpr double kLeast = 0.1;
  const auto height = [&](double ratio) {
    if (!(ratio > kLeast)) return std::isnan(ratio) ? 0.0 : 2.0;
    return 100 * std::min(1.0, std::log(ratio / kLeast) / std::log(most / kLeast));
  };
  std::string out = fmt::format(
      "<svg class=\"profile\" role=\"img\" aria-label=\"error over floor by token\" "
      "viewBox=\"0 0 {} 100\" preserveAspectRatio=\"none\">\n",
      cells.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    const double h = height(cells[i].ratio);
    out += fmt::format(
        "<rect class=\"{}\" x=\"{}\" y=\"{:.1f}\" width=\"1\" height=\"{:.1f}\"><title>{}</title>"
        "</rect>\n",
        cells[i].heat, i, 100 - h, h, escape_html(cell_title("", cells[i])));
  }
  const double bar = 100 - height(tap.bands.diverged);
  out += fmt::format("<path class=\"grid\" d=\"M0 {:.1f}H{}\"/></svg>\n", bar, cells.size());
  std::vector<std::pair<size_t, int64_t>> columns;
  add_token_columns(columns, 0, cells.size(), 0, n);
  return out + "<div class=\"axis\">" + axis_labels(placed(columns, cells.size())) + "</div>\n";
}

}  // namespace lockstep::parity
