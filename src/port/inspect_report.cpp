// An inspection as text and as JSON.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "port/inspect.h"

namespace lockstep::port {
namespace {

using State = KeyRow::State;

constexpr size_t kColumns = 100;

// Strangers' text on one line: what would move a terminal is a blank.
std::string plain(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text;
}

// `text` behind `indent` blanks, broken at blanks, its further lines indented by `hang` more.
void add_lines(std::string& out, const std::string& text, size_t indent = 2, size_t hang = 4) {
  std::string rest = plain(text);
  std::string before(indent, ' ');
  while (before.size() + rest.size() > kColumns) {
    size_t end = rest.rfind(' ', kColumns - before.size());
    if (end == std::string::npos || end == 0) end = rest.find(' ');
    if (end == std::string::npos) break;
    out += before + rest.substr(0, end) + "\n";
    rest.erase(0, end + 1);
    before.assign(indent + hang, ' ');
  }
  out += before + rest + "\n";
}

std::string state_text(const KeyRow& row) {
  std::string text(name_of(row.state));
  const bool says_kind = row.state == State::kDelta || row.state == State::kUnread;
  if (says_kind && row.kind == Delta::Kind::kStructural) text += "!";
  return text;
}

void add_keys(std::string& out, const Inspection& i) {
  out += fmt::format("\nconfig.json, key by key ({})\n",
                     i.slug.empty()    ? "no architecture to trace it with"
                     : i.is_registered ? fmt::format("read by {}", i.slug)
                                       : fmt::format("read by the nearest donor, {}", i.slug));
  size_t width = 12;
  for (const KeyRow& row : i.keys) width = std::max(width, std::min<size_t>(row.path.size(), 40));
  for (const KeyRow& row : i.keys) {
    std::string value = row.value.empty() ? "(absent)" : row.value;
    if (!row.standard.empty() && row.state != State::kDefault) {
      value += " (default " + row.standard + ")";
    } else if (row.value.empty()) {
      value += " " + row.standard;
    }
    const std::string line = plain(fmt::format("  {:<{}} {:<9} {:<24} {}", row.path, width,
                                               state_text(row), value, row.where));
    if (line.size() <= kColumns) {
      out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
      continue;
    }
    out += plain(fmt::format("  {:<{}} {:<9} {}\n", row.path, width, state_text(row), ""));
    out.resize(out.find_last_not_of(" \n") + 1);
    out += "\n";
    add_lines(out, fmt::format("{}  {}", value, row.where), 6, 0);
  }
  if (std::ranges::any_of(i.keys,
                          [](const KeyRow& row) { return state_text(row).ends_with('!'); })) {
    out += "  ! structural: a count, an object or a flag; what is without it is a number\n";
  }
}

void add_weights(std::string& out, const Inspection& i) {
  out += "\nweights\n";
  add_lines(out, fmt::format("{}{}, {:.2f} GB", i.size.is_estimate ? "estimated from " : "",
                             i.size.evidence, static_cast<double>(i.size.bytes) / 1e9));
  for (const auto& [dtype, bytes] : i.bytes_by_dtype) {
    out += fmt::format("  {:<10} {:>16} bytes\n", dtype, bytes);
  }
  if (!i.no_tensors.empty()) add_lines(out, "no headers were read: " + i.no_tensors);
  for (const ShapeFinding& finding : i.shapes) {
    add_lines(out, finding.what);
    add_lines(
        out,
        fmt::format("{}: expected {}, found {}", finding.tensor, finding.expected, finding.found),
        4, 2);
  }
}

void add_card(std::string& out, const Inspection& i) {
  out += "\nmodel card\n";
  if (!i.card.family.empty()) add_lines(out, "family: " + i.card.family);
  if (!i.card.papers.empty()) {
    add_lines(out, fmt::format("papers: {}", fmt::join(i.card.papers, ", ")));
  }
  add_lines(out, i.card.chat_template.empty() ? "prompt template: none in the repository"
                                              : "prompt template: " + i.card.chat_template);
  if (!i.card.exists) out += "  there is no README.md\n";
  for (const CardQuote& quote : i.card.quotes) {
    add_lines(out, fmt::format("README.md:{} [{}] {}", quote.line, quote.about, quote.text));
  }
}

void add_reference(std::string& out, const Inspection& i) {
  const ReferenceSource& r = i.reference;
  out += fmt::format("\nthe reference{}\n",
                     r.version.empty() ? "" : plain(" (transformers " + r.version + ")"));
  if (!r.custom_code.empty()) add_lines(out, "code of the repository: " + r.custom_code);
  if (!r.url.empty()) out += "  " + r.url + "\n";
  if (!r.local_file.empty()) {
    add_lines(out, fmt::format("installed ({}): {}", r.local_version, r.local_file));
  }
  size_t n = 0;
  out += "  read in this order:\n";
  for (const std::string& line : r.order) add_lines(out, fmt::format("{}. {}", ++n, line), 4, 3);
}

void add_donors(std::string& out, const Inspection& i) {
  if (i.donors.empty()) return;
  out += "\nlikely deltas\n";
  for (const DonorReport& donor : i.donors) {
    out += fmt::format("  {:<14} {} structural, {} in all\n", donor.slug, donor.n_structural(),
                       donor.deltas.size());
  }
  for (const Delta& delta : i.donors.front().deltas) {
    add_lines(out, fmt::format("{}. {} ({}): the reference {}; {} {}", delta.number, delta.part,
                               delta_kind_name(delta.kind), delta.reference, i.slug, delta.donor));
  }
}

std::string next_of(const Inspection& i) {
  if (!i.is_registered) return fmt::format("lockstep check-walls {}", i.model);
  return i.refusal.empty() ? fmt::format("lockstep serve --model {}", i.model)
                           : fmt::format("lockstep graph {}", i.model);
}

}  // namespace

std::string to_text(const Inspection& i) {
  std::string out = fmt::format("{}: {}\n", i.model,
                                i.class_name.empty() ? "no class is named" : plain(i.class_name));
  if (i.is_registered) {
    add_lines(out, fmt::format("registered ({}, {}): no port is needed", i.slug, i.origin));
    if (i.refusal.empty()) {
      add_lines(out, fmt::format("lockstep generate {} --prompt \"...\"", i.model));
      add_lines(out, fmt::format("lockstep serve --model {}", i.model));
    } else {
      add_lines(out, "but it does not take this config.json: " + i.refusal);
    }
  } else {
    add_lines(out, i.slug.empty() ? "not registered"
                                  : fmt::format("not registered; the nearest donor is {}", i.slug));
  }
  add_keys(out, i);
  add_weights(out, i);
  add_card(out, i);
  add_reference(out, i);
  add_donors(out, i);
  out += "\nchecklist\n";
  for (const std::string& item : i.checklist) add_lines(out, "[ ] " + item, 2, 4);
  out += "next: " + next_of(i) + "\n";
  return out;
}

nlohmann::json to_json(const Inspection& i) {
  using nlohmann::json;
  json keys = json::array(), shapes = json::array(), quotes = json::array(), donors = json::array();
  for (const KeyRow& row : i.keys) {
    keys.push_back({{"key", row.path},
                    {"value", row.value},
                    {"default", row.standard},
                    {"state", name_of(row.state)},
                    {"kind", delta_kind_name(row.kind)},
                    {"where", row.where}});
  }
  for (const ShapeFinding& finding : i.shapes) {
    shapes.push_back({{"what", finding.what},
                      {"tensor", finding.tensor},
                      {"expected", finding.expected},
                      {"found", finding.found}});
  }
  for (const CardQuote& quote : i.card.quotes) {
    quotes.push_back({{"line", quote.line}, {"about", quote.about}, {"text", quote.text}});
  }
  for (const DonorReport& donor : i.donors) {
    json deltas = json::array();
    for (const Delta& delta : donor.deltas) {
      deltas.push_back({{"number", delta.number},
                        {"kind", delta_kind_name(delta.kind)},
                        {"part", delta.part},
                        {"reference", delta.reference},
                        {"donor", delta.donor},
                        {"change", delta.change}});
    }
    donors.push_back({{"slug", donor.slug}, {"class", donor.class_name}, {"deltas", deltas}});
  }
  return {{"hf_id", i.model},
          {"architecture", i.class_name},
          {"model_type", i.model_type},
          {"registered", i.is_registered},
          {"slug", i.slug},
          {"refusal", i.refusal},
          {"keys", keys},
          {"parameters", static_cast<uint64_t>(i.size.parameters)},
          {"bytes", i.size.bytes},
          {"estimated", i.size.is_estimate},
          {"bytes_by_dtype", i.bytes_by_dtype},
          {"no_tensors", i.no_tensors},
          {"shapes", shapes},
          {"card",
           {{"exists", i.card.exists},
            {"family", i.card.family},
            {"papers", i.card.papers},
            {"chat_template", i.card.chat_template},
            {"quotes", quotes}}},
          {"reference",
           {{"transformers_version", i.reference.version},
            {"url", i.reference.url},
            {"custom_code", i.reference.custom_code},
            {"local_file", i.reference.local_file},
            {"local_version", i.reference.local_version},
            {"order", i.reference.order}}},
          {"donors", donors},
          {"checklist", i.checklist},
          {"next", next_of(i)}};
}

}  // namespace lockstep::port
