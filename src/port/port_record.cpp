#include "port/port_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "lockstep/error.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

struct Part {
  std::string_view name;  // of the section; empty for what a person writes
  std::string_view heading;
  std::string_view prompt;  // of a person's part, written once
};

constexpr Part kOrder[] = {
    {"card", "Model card", ""},
    {"config", "Configuration", ""},
    {"plan", "Plan", ""},
    {"deltas", "Deltas", ""},
    {"gates", "Gates", ""},
    {"runs", "Runs", ""},
    {"", "Root cause",
     "_For each divergence: the first tap that differed, what the reference does there, what the "
     "port did._"},
    {"", "Lessons", "_What the next port of this family should know before it begins._"},
    {"attestation", "Attestation", ""},
};

size_t place_of(std::string_view section) {
  return static_cast<size_t>(std::ranges::find(kOrder, section, &Part::name) - std::begin(kOrder));
}

std::string heading_of(std::string_view section) {
  const size_t place = place_of(section);
  return std::string(place < std::size(kOrder) ? kOrder[place].heading : section);
}

std::string opening(std::string_view section) {
  return fmt::format("<!-- lockstep:{} -->", section);
}
std::string closing(std::string_view section) {
  return fmt::format("<!-- /lockstep:{} -->", section);
}

bool is_name(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

// A line that is a marker and nothing else.
struct Marker {
  std::string_view section;
  bool closes;
};

std::optional<Marker> marker_of(std::string_view line) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t begin = line.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  line = line.substr(begin, line.find_last_not_of(kBlank) + 1 - begin);
  if (!line.starts_with("<!-- ") || !line.ends_with(" -->")) return {};
  line = line.substr(5, std::max<size_t>(line.size(), 9) - 9);
  const bool closes = line.starts_with('/');
  if (closes) line.remove_prefix(1);
  if (!line.starts_with("lockstep:") || !is_name(line.substr(9))) return {};
  return Marker{line.substr(9), closes};
}

struct Section {
  std::string_view name;
  size_t open_line;   // number of the line, from 1
  size_t opening;     // offset of the opening marker's line
  size_t begin, end;  // offsets of what lies between the markers' lines
  size_t after;       // offset of the line after the closing marker
};

[[noreturn]] void refuse(const fs::path& file, size_t line, const std::string& what) {
  throw Error(ErrorCode::kFailedPrecondition, fmt::format("{}:{}: {}", file.string(), line, what),
              "every <!-- lockstep:NAME --> needs one <!-- /lockstep:NAME --> after it, before the "
              "next one");
}

std::vector<Section> sections_of(std::string_view text, const fs::path& file) {
  std::vector<Section> sections;
  bool is_open = false;
  size_t line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const size_t next = std::min(end + 1, text.size());
    ++line;
    if (const auto marker = marker_of(text.substr(begin, end - begin))) {
      const std::string name = quote_text(marker->section);
      if (!marker->closes) {
        if (is_open) {
          refuse(file, line,
                 fmt::format("section {} opened before {} (line {}) is closed", name,
                             quote_text(sections.back().name), sections.back().open_line));
        }
        const auto twin = std::ranges::find(sections, marker->section, &Section::name);
        if (twin != sections.end()) {
          refuse(file, line,
                 fmt::format("section {} opened twice, first in line {}", name, twin->open_line));
        }
        sections.push_back({marker->section, line, begin, next, next, next});
        is_open = true;
      } else {
        if (!is_open || sections.back().name != marker->section) {
          refuse(file, line, fmt::format("section {} closed, but not open", name));
        }
        sections.back().end = begin;
        sections.back().after = next;
        is_open = false;
      }
    }
    begin = next;
  }
  if (is_open) {
    refuse(file, sections.back().open_line,
           fmt::format("section {} is not closed", quote_text(sections.back().name)));
  }
  return sections;
}

// Text of strangers (a model's card) must not end a section or begin another.
std::string without_markers(std::string_view text) {
  std::string safe;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line(text.substr(begin, end - begin));
    if (marker_of(line)) line.replace(line.find("<!--"), 4, "&lt;!--");
    safe += line;
    if (end < text.size()) safe += '\n';
    begin = end + 1;
  }
  if (!safe.empty() && safe.back() != '\n') safe += '\n';
  return safe;
}

std::string whole_section(std::string_view section, std::string_view body) {
  return fmt::format("## {}\n\n{}\n{}{}\n", heading_of(section), opening(section), body,
                     closing(section));
}

std::string new_record(const fs::path& port_folder) {
  std::string text = fmt::format(
      "# Port of {}\n\nWhat stands between markers is written by `lockstep` as its commands run. "
      "Everything else is yours and stays as it is.\n",
      fs::absolute(port_folder).lexically_normal().filename().string());
  for (const Part& part : kOrder) {
    text += '\n';
    text += part.name.empty() ? fmt::format("## {}\n\n{}\n", part.heading, part.prompt)
                              : whole_section(part.name, "");
  }
  return text;
}

// Where a section's own heading begins, if it stands right above the marker; else the marker.
size_t heading_above(std::string_view text, const Section& section) {
  size_t end = section.opening;
  while (end > 0) {
    const size_t newline = end >= 2 ? text.rfind('\n', end - 2) : std::string_view::npos;
    const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
    const std::string_view line = text.substr(begin, end - begin);
    if (line.starts_with('#')) return begin;
    if (line.find_first_not_of(" \t\r\n") != std::string_view::npos) break;
    end = begin;
  }
  return section.opening;
}

// Puts a section where the record's order has it among those that are there.
void insert_section(std::string& text, const std::vector<Section>& sections,
                    std::string_view section, std::string_view body) {
  const size_t place = place_of(section);
  const Section* before = nullptr;
  const Section* behind = nullptr;
  for (const Section& other : sections) {
    const size_t at = place_of(other.name);
    if (at <= place && (before == nullptr || at >= place_of(before->name))) before = &other;
    if (at > place && (behind == nullptr || at < place_of(behind->name))) behind = &other;
  }
  const std::string whole = whole_section(section, body);
  const auto put = [&](size_t offset, const std::string& piece) { text.insert(offset, piece); };
  // What only a person's parts separate from the end belongs after them.
  if (before != nullptr && (behind != nullptr || place < std::size(kOrder) - 1)) {
    const bool ends_line = before->after > 0 && text[before->after - 1] == '\n';
    put(before->after, (ends_line ? "\n" : "\n\n") + whole);
  } else if (behind != nullptr) {
    put(heading_above(text, *behind), whole + "\n");
  } else {
    const bool needs_end = !text.empty() && text.back() != '\n';
    put(text.size(), (needs_end ? "\n\n" : text.empty() ? "" : "\n") + whole);
  }
}

fs::path record_file(const fs::path& port_folder) {
  const fs::path file = port_folder / "PORT.md";
  // Renaming over a link would put a file in its place.
  return fs::is_symlink(file) && fs::exists(file) ? fs::canonical(file) : file;
}

}  // namespace

void update_record(const fs::path& port_folder, std::string_view section, std::string_view text) {
  if (!is_name(section)) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("section {}: expected a name of a-z, 0-9, - and _", quote_text(section)));
  }
  const fs::path file = record_file(port_folder);
  std::string whole = fs::exists(file) ? read_text_file(file) : new_record(port_folder);
  const std::vector<Section> sections = sections_of(whole, file);
  const std::string body = without_markers(text);
  const auto at = std::ranges::find(sections, section, &Section::name);
  if (at != sections.end()) {
    whole.replace(at->begin, at->end - at->begin, body);
  } else {
    insert_section(whole, sections, section, body);
  }
  AtomicFile out(file);
  out.write(whole);
  out.commit();
}

std::string read_record(const fs::path& port_folder, std::string_view section) {
  const fs::path file = record_file(port_folder);
  if (!fs::exists(file)) return "";
  const std::string whole = read_text_file(file);
  const std::vector<Section> sections = sections_of(whole, file);
  const auto at = std::ranges::find(sections, section, &Section::name);
  if (at == sections.end()) return "";
  std::string body = whole.substr(at->begin, at->end - at->begin);
  if (body.ends_with('\n')) body.pop_back();
  return body;
}

}  // namespace lockstep::port
