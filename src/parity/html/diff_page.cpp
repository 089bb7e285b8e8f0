#include "parity/html/diff_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "parity/format.h"
#include "parity/html/html.h"

namespace lockstep::parity {
namespace {

constexpr size_t kOpenedTaps = 6, kMostGroups = 6, kMostItems = 40;

std::string row(const char* name, const std::string& value) {
  return element("dt", "", name) + element("dd", "", value) + "\n";
}

std::string ratio_text(const TapDiff& tap) {
  return tap.floor ? short_number(tap.ratio) + " (diverged above " +
                         short_number(tap.bands.diverged) + ")"
                   : "no floor";
}

std::string numbers_html(const TapDiff& tap) {
  const TapMetrics& m = tap.metrics;
  std::string out = "<dl>\n" + row("error", short_number(m.sums.relative_l2()));
  out += row("floor", tap.floor ? short_number(tap.floor->total) : "none");
  out += row("over it", ratio_text(tap));
  out += row("cosine", fmt::format("{:.6f}", m.sums.cosine()));
  out += row("scale", fmt::format("{:.6g}, beside it {}", m.sums.alpha(),
                                  short_number(m.sums.residual())));
  out += row("largest", fmt::format("{} at token {}, channel {}: {} for {}",
                                    short_number(m.max_abs), m.max_place.token, m.max_place.channel,
                                    short_number(m.max_place.port),
                                    short_number(m.max_place.reference)));
  out += row("token 0", tap.token0_clean ? "clean" : "differs, " + short_number(tap.token0_g));
  if (m.without_largest) {
    out += row("without largest channels",
               short_number(m.without_largest->relative_l2()));
  }
  if (!tap.note.empty()) out += row("note", tap.note);
  return out + "</dl>\n";
}

std::string opened_html(const RunDiff& run, const TapDiff& tap, bool is_open) {
  const std::string profile = profile_html(tap);
  return fmt::format(
      "<details{}><summary><span class=\"path\">{}</span> <span class=\"small\">{}, {}</span>"
      "</summary>\n{}{}{}</details>\n",
      is_open ? " open" : "", escape_html(tap.key), escape_html(run.port->info.id),
      escape_html(tap.floor ? short_number(tap.ratio) + " of the floor" : "not judged"),
      numbers_html(tap),
      profile.empty() ? "" : "<p class=\"small\">error over floor by token, logarithmic</p>\n",
      profile);
}

// Guilty ones first, then the first that diverged, then by how far.
std::string opened_taps(const RunGroup& group, const Marks& marks) {
  struct Opened {
    const RunDiff* run;
    const TapDiff* tap;
    int rank;
  };
  std::vector<Opened> all;
  for (const RunDiff* run : group) {
    for (size_t i = 0; i < run->taps.size(); ++i) {
      const TapDiff& tap = run->taps[i];
      if (tap.judgement != Judgement::kDiverged && tap.judgement != Judgement::kWatch) continue;
      const bool is_guilty = marks.sources.contains(tap.port->info.path) &&
                             tap.port->info.role == TapRole::kOutput;
      all.push_back({run, &tap, is_guilty ? 0 : std::ssize(run->taps) == 0 ||
                                                        static_cast<int>(i) == run->first_diverged
                                                    ? 1
                                                    : 2});
    }
    if (run->logits && run->logits->judgement != Judgement::kClean) {
      all.push_back({run, &*run->logits, 2});
    }
  }
  std::ranges::stable_sort(all, [](const Opened& a, const Opened& b) {
    return a.rank != b.rank ? a.rank < b.rank : a.rank == 2 && a.tap->ratio > b.tap->ratio;
  });
  if (all.empty()) return {};
  std::string out = "<section><h2>Worst values</h2>\n";
  for (size_t i = 0; i < std::min(all.size(), kOpenedTaps); ++i) {
    out += opened_html(*all[i].run, *all[i].tap, i == 0);
  }
  if (all.size() > kOpenedTaps) {
    out += element("p", "small", fmt::format("and {} more that are not clean",
                                             all.size() - kOpenedTaps));
  }
  return out + "</section>\n";
}

std::string group_name(const RunGroup& group) {
  const RunInfo& info = group.front()->port->info;
  std::string name = fmt::format("prompt {} in {}, {} tokens", info.prompt,
                                 group.front()->dtype, info.prompt_ids.size());
  if (group.size() > 1) name += fmt::format(" and {} steps", group.size() - 1);
  return name;
}

bool diverges(const RunGroup& group) {
  return std::ranges::any_of(group, [](const RunDiff* run) { return run->first_diverged >= 0; });
}

// What is shown first: a float32 group that diverges, else one that does, else the longest.
size_t main_group(const std::vector<RunGroup>& groups) {
  const auto rank = [](const RunGroup& group) {
    return std::tuple(diverges(group), diverges(group) && group.front()->dtype == "float32",
                      group.front()->port->info.prompt_ids.size());
  };
  return static_cast<size_t>(std::ranges::max_element(groups, {}, rank) - groups.begin());
}

const RunDiff& curve_run(const RunGroup& group) {
  if (group.front()->first_diverged >= 0) return *group.front();
  const auto at =
      std::ranges::find_if(group, [](const RunDiff* run) { return run->first_diverged >= 0; });
  return at == group.end() ? *group.front() : **at;
}

std::string figures_html(const RunGroup& group, const Marks& marks) {
  const std::string heat = heat_map_html(group, marks);
  const std::string curve = curve_html(curve_run(group), marks);
  std::string out;
  if (!heat.empty()) out += "<h3>Error over floor, depth by token</h3>\n" + heat;
  if (!curve.empty()) {
    out += "<h3>Error and floor over depth</h3>\n" +
           element("p", "small", curve_run(group).port->info.id) + curve;
  }
  return out;
}

std::string runs_table(const DiffReport& diff) {
  std::string out =
      "<section><h2>All runs</h2>\n<div class=\"scroll\"><table><tr><th>run</th>"
      "<th class=\"n\">tokens</th><th>first diverged</th><th class=\"n\">logits, of the floor</th>"
      "</tr>\n";
  for (const RunDiff& run : diff.runs) {
    std::string first = "none";
    if (run.first_diverged >= 0) {
      const auto at = static_cast<size_t>(run.first_diverged);
      first = at < run.taps.size() ? run.taps[at].key : "logits";
    }
    out += fmt::format(
        "<tr><td class=\"name\">{}</td><td class=\"n\">{}</td><td class=\"{}\">{}</td>"
        "<td class=\"n\">{}</td></tr>\n",
        escape_html(run.port->info.id), run.port->info.prompt_ids.size(),
        run.first_diverged < 0 ? "good-text" : "bad-text path", escape_html(first),
        escape_html(run.logits && run.logits->floor ? short_number(run.logits->ratio) : "-"));
  }
  return out + "</table></div></section>\n";
}

std::vector<std::string> finding_lines(const DiffReport& diff) {
  std::vector<std::string> lines;
  for (const DiffFinding& finding : diff.findings) {
    std::string line = fmt::format("{} {}", level_name(finding.level), finding.code);
    for (const std::string& part : {finding.run, finding.tap}) {
      if (!part.empty()) line += ", " + part;
    }
    line += ": " + finding.message;
    if (!finding.way_out.empty()) line += " (" + finding.way_out + ")";
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace

std::string_view verdict_class(Outcome outcome) {
  switch (outcome) {
    case Outcome::kPass:
      return "good";
    case Outcome::kDiverged:
      return "bad";
    case Outcome::kUndecided:
      break;
  }
  return "open";
}

std::string verdict_word(Outcome outcome) {
  std::string word(outcome_name(outcome));
  for (char& c : word) c = static_cast<char>(c - 'a' + 'A');
  return word;
}

std::string verdict_html(Outcome outcome, const std::string& headline,
                         const Recording& reference) {
  std::string about = reference.model;
  if (!reference.architecture.empty()) about += " (" + reference.architecture + ")";
  about += (about.empty() ? "" : ", ") + ("against " + reference.path.string());
  return fmt::format("<header class=\"verdict {}\">\n{}\n{}\n{}\n</header>\n",
                     verdict_class(outcome), element("h1", "", verdict_word(outcome)),
                     element("p", "", headline), element("p", "small", about));
}

std::string list_html(const std::string& heading, const std::vector<std::string>& items) {
  if (items.empty()) return {};
  std::string out = "<section>" + element("h2", "", heading) + "\n<ul>\n";
  for (size_t i = 0; i < std::min(items.size(), kMostItems); ++i) {
    out += element("li", "", items[i]) + "\n";
  }
  if (items.size() > kMostItems) {
    out += element("li", "small", fmt::format("and {} more", items.size() - kMostItems)) + "\n";
  }
  return out + "</ul></section>\n";
}

std::string comparison_html(const DiffReport& diff, const Marks& marks) {
  const std::vector<RunGroup> groups = group_runs(diff);
  if (groups.empty()) return {};
  const size_t first = main_group(groups);
  std::string out = "<section>" + element("h2", "", "Where: " + group_name(groups[first])) + "\n";
  out += figures_html(groups[first], marks);
  size_t n_shown = 1;
  for (size_t i = 0; i < groups.size(); ++i) {
    if (i == first || n_shown == kMostGroups) continue;
    ++n_shown;
    out += fmt::format("<details><summary>{}</summary>\n{}</details>\n",
                       escape_html(group_name(groups[i]) +
                                   (diverges(groups[i]) ? ": diverges" : ": within the floor")),
                       figures_html(groups[i], marks));
  }
  out += "</section>\n" + opened_taps(groups[first], marks);
  return out + runs_table(diff);
}

std::string diff_page(const Recording& reference, const Recording& port, const DiffReport& diff) {
  const Coverage& c = diff.covered;
  std::string headline = fmt::format("{} runs, {} values judged, {} of {} layers", c.runs, c.taps,
                                     c.layers, c.layers_expected);
  if (!diff.valid) headline = "a recording was refused: no operator is blamed";
  std::string body = verdict_html(diff.outcome, headline, reference);
  body += element("p", "small", "port: " + port.path.string()) + "\n";
  for (const RunDiff& run : diff.runs) {
    if (run.first_diverged < 0 || !diff.valid) continue;
    const auto at = static_cast<size_t>(run.first_diverged);
    const bool is_tap = at < run.taps.size();
    const TapDiff& tap = is_tap ? run.taps[at] : *run.logits;
    body += fmt::format(
        "<ol class=\"guilty\"><li><span class=\"path\">{}</span> "
        "<span class=\"badge bad-text\">first to diverge</span>\n{}</li></ol>\n",
        escape_html(tap.key), numbers_html(tap));
    break;
  }
  body += comparison_html(diff, {});
  body += list_html("Findings", finding_lines(diff));
  body += list_html("Not covered", diff.not_covered);
  return html_page(verdict_word(diff.outcome) + " " + reference.model, body);
}

}  // namespace lockstep::parity
