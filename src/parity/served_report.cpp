// A comparison with a server as text and as JSON.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "parity/served.h"

namespace lockstep::parity {
namespace {

using Kind = ServedPosition::Outcome;
using Json = nlohmann::ordered_json;
constexpr size_t kColumns = 100;

// `text` in lines of at most kColumns behind `indent` blanks; a word that is longer stays whole.
std::string wrapped(std::string text, size_t indent) {
  std::string out;
  const std::string before(indent, ' ');
  while (text.size() + indent > kColumns) {
    size_t end = text.rfind(' ', kColumns - indent);
    if (end == std::string::npos || end == 0) end = text.find(' ', kColumns - indent);
    if (end == std::string::npos) break;
    out += before + text.substr(0, end) + "\n";
    text.erase(0, end + 1);
  }
  return out + before + text + "\n";
}

// At most `width` bytes, cut between characters.
std::string cut(std::string text, size_t width) {
  if (text.size() <= width) return text;
  size_t end = width - 2;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0u) == 0x80u) --end;
  return text.substr(0, end) + "..";
}

std::string number(const std::optional<double>& value) {
  return value.has_value() ? fmt::format("{:.5g}", *value) : "-";
}

std::string position_lines(const ServedPosition& p, const ServedTokens& tokens) {
  const std::string own = p.outcome == Kind::kUnasked ? "-" : tokens.shown(p.reference_token);
  const std::string found = p.server_token.has_value() ? tokens.shown(*p.server_token) : "-";
  const bool is_known = p.outcome != Kind::kUnasked;
  std::string line = fmt::format(
      "{:<9} {:>6}  {:<18} {:<18} {:>10} {:>10} {:>8}  {}\n",
      fmt::format("{} {}", p.part, p.prompt), p.length, cut(own, 18), cut(found, 18),
      is_known ? fmt::format("{:.5g}", p.reference_logprob) : "-", number(p.server_logprob),
      is_known ? fmt::format("{:.2g}", p.allowed) : "-", outcome_name(p.outcome));
  // Why something was left out stands at the end, once.
  if (!p.reason.empty() && p.compared()) line += wrapped(p.reason, 4);
  return line;
}

std::string verdict_line(const ServedReport& report) {
  const size_t n = report.positions.size();
  const std::string of = fmt::format("{} of {}", report.n_compared(), counted(n, "position"));
  const int n_ties = report.count(Kind::kTie);
  const std::string ties = n_ties == 0 ? "" : fmt::format(", {} by a tie", n_ties);
  switch (report.outcome) {
    case Outcome::kPass:
      return fmt::format("PASS: {} compared, all agree{}", of, ties);
    case Outcome::kDiverged:
      return fmt::format(
          "DIFFERS: {} of {} compared positions; the first after {}", report.count(Kind::kDiffers),
          report.n_compared(),
          counted(static_cast<uint64_t>(report.first_difference()->length), "token"));
    case Outcome::kUndecided:
      break;
  }
  return fmt::format("UNDECIDED: {} compared{}", of,
                     report.n_compared() == 0 ? "" : ", the others got no answer to compare");
}

}  // namespace

std::string_view outcome_name(ServedPosition::Outcome outcome) noexcept {
  switch (outcome) {
    case Kind::kSame:
      return "same";
    case Kind::kTie:
      return "tie";
    case Kind::kDiffers:
      return "DIFFERS";
    case Kind::kUnasked:
    case Kind::kUnnamed:
    case Kind::kUnanswered:
      break;
  }
  return "skipped";
}

std::string served_text(const ServedReport& report, const ServedTokens& tokens) {
  std::string text = fmt::format("server     {}, model {}\n", report.url, report.model);
  text += fmt::format("reference  {}, {}\n", report.reference, report.run);
  text +=
      wrapped(fmt::format("allowed    5 % of the logprob, at least what noise makes of it; server "
                          "in {}: {}",
                          report.dtype, report.noise),
              0);
  text += fmt::format("{:<9} {:>6}  {:<18} {:<18} {:>10} {:>10} {:>8}\n", "probe", "tokens",
                      "reference's token", "server's token", "logprob", "server", "allowed");
  for (const ServedPosition& position : report.positions) text += position_lines(position, tokens);
  text += verdict_line(report) + "\n";
  const ServedPosition* first = report.first_difference();
  if (first != nullptr) text += wrapped(fmt::format("look at: {}", suspect_of(first->length)), 2);
  text += "not covered:\n";
  for (const std::string& line : report.not_covered) text += wrapped("- " + line, 2);
  return text;
}

std::string served_json(const ServedReport& report, const std::vector<LayerFigures>& layers) {
  Json positions = Json::array(), findings = Json::array(), hf_layers = Json::array();
  for (const LayerFigures& layer : layers) {
    hf_layers.push_back({{"path", layer.path},
                         {"mean", layer.mean},
                         {"rms", layer.rms},
                         {"max_abs", layer.max_abs}});
  }
  for (const ServedPosition& p : report.positions) {
    Json row = {{"part", p.part},
                {"prompt", p.prompt},
                {"tokens", p.length},
                {"outcome", p.outcome == Kind::kDiffers ? "differs" : outcome_name(p.outcome)},
                {"reason", p.reason}};
    if (p.outcome != Kind::kUnasked) {
      row["reference"] = {
          {"token", p.reference_token}, {"logprob", p.reference_logprob}, {"margin", p.margin}};
      row["allowed"] = p.allowed;
      row["server"] = {{"token", nullptr}, {"logprob", nullptr}, {"others_compared", p.n_others}};
      if (p.server_token.has_value()) row["server"]["token"] = *p.server_token;
      if (p.server_logprob.has_value()) row["server"]["logprob"] = *p.server_logprob;
    }
    if (p.outcome == Kind::kDiffers || p.outcome == Kind::kTie) {
      findings.push_back({{"level", p.outcome == Kind::kTie ? "info" : "diverged"},
                          {"tokens", p.length},
                          {"message", p.reason}});
    }
    positions.push_back(std::move(row));
  }
  const Json document = {{"verdict", outcome_name(report.outcome)},
                         {"server", {{"url", report.url}, {"model", report.model}}},
                         {"reference", {{"path", report.reference}, {"run", report.run}}},
                         {"dtype", report.dtype},
                         {"noise", report.noise},
                         {"covered",
                          {{"positions", report.n_compared()},
                           {"of", report.positions.size()},
                           {"ties", report.count(Kind::kTie)}}},
                         {"not_covered", report.not_covered},
                         {"findings", findings},
                         {"positions", positions},
                         {"hf_layers", hf_layers}};
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace lockstep::parity
