#include "port/donor_difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <regex>
#include <vector>

#include "base/file.h"
#include "lockstep/error.h"
#include "port/donor_source.h"
#include "port/port_folder.h"
#include "port/sdk.h"

namespace lockstep::port {
namespace {

namespace fs = std::filesystem;

constexpr size_t kContext = 2;     // lines beside a difference
constexpr size_t kMostLines = 400;  // of a struct that is compared

struct Found {
  fs::path file;
  Chunk chunk;
  size_t alike = 0;  // letters of the end that the names share
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size() && lines.size() < kMostLines;) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

// Letters that both end in, from a capital on: "Attention" of LlamaAttention and Glm4Attention.
size_t common_ending(const std::string& a, const std::string& b) {
  size_t n = 0, whole = 0;
  while (n < std::min(a.size(), b.size()) && a[a.size() - 1 - n] == b[b.size() - 1 - n]) {
    ++n;
    const char c = a[a.size() - n];
    if (c >= 'A' && c <= 'Z') whole = n;
  }
  return whole;
}

std::optional<Found> best_struct(const std::vector<fs::path>& files, const std::string& name) {
  std::optional<Found> best;
  for (const fs::path& file : files) {
    for (Chunk& chunk : chunks_of(without_comments(read_text_file(file)))) {
      const size_t alike = chunk.is_struct ? common_ending(chunk.name, name) : 0;
      if (alike == 0 || (best && alike <= best->alike)) continue;
      best = Found{file, std::move(chunk), alike};
    }
  }
  return best;
}

std::vector<fs::path> donors_of(const std::vector<fs::path>& sources) {
  const std::regex include("#include \"lockstep/archs/([A-Za-z0-9_]+)\\.h\"");
  std::vector<fs::path> donors;
  for (const fs::path& source : sources) {
    const std::string text = read_text_file(source);
    for (std::sregex_iterator at(text.begin(), text.end(), include), end; at != end; ++at) {
      const fs::path header = find_sdk() / "lockstep" / "archs" / ((*at)[1].str() + ".h");
      if (std::ranges::find(donors, header) == donors.end()) donors.push_back(header);
    }
  }
  return donors;
}

std::string fenced(const std::string& language, const std::string& text) {
  return "```" + language + "\n" + text + (text.ends_with('\n') ? "" : "\n") + "```\n";
}

}  // namespace

std::string line_difference(const std::string& a, const std::string& b) {
  const std::vector<std::string> x = lines_of(a), y = lines_of(b);
  // Lengths of the longest common subsequences of the rests.
  std::vector<std::vector<size_t>> common(x.size() + 1, std::vector<size_t>(y.size() + 1, 0));
  for (size_t i = x.size(); i-- > 0;) {
    for (size_t j = y.size(); j-- > 0;) {
      common[i][j] = x[i] == y[j] ? common[i + 1][j + 1] + 1
                                  : std::max(common[i + 1][j], common[i][j + 1]);
    }
  }
  std::vector<std::string> all;
  for (size_t i = 0, j = 0; i < x.size() || j < y.size();) {
    if (i < x.size() && j < y.size() && x[i] == y[j]) {
      all.push_back("  " + x[i++]);
      ++j;
    } else if (i < x.size() && (j == y.size() || common[i + 1][j] >= common[i][j + 1])) {
      all.push_back("- " + x[i++]);
    } else {
      all.push_back("+ " + y[j++]);
    }
  }
  std::string out;
  bool is_gap = false;
  for (size_t i = 0; i < all.size(); ++i) {
    const size_t first = i >= kContext ? i - kContext : 0;
    const size_t last = std::min(all.size(), i + kContext + 1);
    const bool near = std::any_of(all.begin() + static_cast<ptrdiff_t>(first),
                                  all.begin() + static_cast<ptrdiff_t>(last),
                                  [](const std::string& line) { return line[0] != ' '; });
    if (near) {
      out += all[i] + "\n";
    } else if (!is_gap) {
      out += "  ...\n";
    }
    is_gap = !near;
  }
  return out;
}

DonorDifference donor_difference(const fs::path& port_folder, const std::string& module_class) {
  try {
    const std::vector<fs::path> sources = PortFolder::open(port_folder).sources;
    const std::optional<Found> port = best_struct(sources, module_class);
    const std::optional<Found> donor = best_struct(donors_of(sources), module_class);
    DonorDifference found;
    if (port && donor) {
      found.markdown = fmt::format("`{}` of {} (-) against `{}` of {} (+):\n\n", donor->chunk.name,
                                   donor->file.filename().string(), port->chunk.name,
                                   port->file.filename().string()) +
                       fenced("diff", line_difference(donor->chunk.text, port->chunk.text));
      found.command = fmt::format("diff -u {} {}", donor->file.string(), port->file.string());
    } else if (port || donor) {
      const Found& only = port ? *port : *donor;
      found.markdown = fmt::format("`{}` stands in {} alone{}:\n\n", only.chunk.name,
                                   only.file.filename().string(),
                                   port ? "" : ", which the port inherits from") +
                       fenced("cpp", only.chunk.text);
      found.command = "less " + only.file.string();
    }
    return found;
  } catch (const Error&) {
    return {};  // a brief is no place to fail for a source that cannot be read
  }
}

}  // namespace lockstep::port
