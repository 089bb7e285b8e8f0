#include "parity/explain/source_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>

#include "parity/anatomy.h"

namespace lockstep::parity {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kLargestSource = 1 << 20;

struct Source {
  fs::path path;
  std::vector<std::string> lines;
};

// Begin and end of the struct that names itself `class_name`: line numbers from 0, end excluded.
struct Region {
  const Source* source = nullptr;
  size_t begin = 0, named = 0, end = 0;
};

// What is called, and what computes a value inside a module where it is no member.
struct Wanted {
  std::string caller;                // class whose forward() has the call
  std::vector<std::string> callees;  // "q_proj(", the likeliest first
};

std::vector<Source> read_sources(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code ec;
  for (fs::recursive_directory_iterator at(folder, ec), end; !ec && at != end; at.increment(ec)) {
    const std::string extension = at->path().extension().string();
    const bool is_source = extension == ".h" || extension == ".hpp" || extension == ".cpp";
    std::error_code size_error;
    if (is_source && at->file_size(size_error) <= kLargestSource) paths.push_back(at->path());
  }
  std::ranges::sort(paths);
  std::vector<Source> sources;
  for (const fs::path& path : paths) {
    Source source{path, {}};
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) source.lines.push_back(line);
    sources.push_back(std::move(source));
  }
  return sources;
}

std::optional<Region> region_of(const Source& source, const std::string& class_name) {
  const std::string literal = "\"" + class_name + "\"";
  for (size_t i = 0; i < source.lines.size(); ++i) {
    if (source.lines[i].find(literal) == std::string::npos) continue;
    Region region{&source, i, i, i + 1};
    const auto opens = [&](size_t n) {
      const std::string& line = source.lines[n];
      return line.starts_with("struct ") || line.starts_with("class ");
    };
    while (region.begin > 0 && !opens(region.begin)) --region.begin;
    while (region.end < source.lines.size() && !source.lines[region.end].starts_with("};")) {
      ++region.end;
    }
    return region;
  }
  return std::nullopt;
}

// A call, not the member's construction, which has its name as text, nor its declaration.
bool is_call(const std::string& line, const std::string& callee) {
  const size_t at = line.find(callee);
  if (at == std::string::npos) return false;
  const std::string name = callee.substr(0, callee.size() - 1);
  if (line.find("\"" + name + "\"") != std::string::npos) return false;
  if (line.find_first_not_of(' ') == line.find("//")) return false;
  const char before = at == 0 ? ' ' : line[at - 1];
  return std::isalnum(static_cast<unsigned char>(before)) == 0 && before != '_';
}

std::string place(const Source& source, size_t line) {
  return fmt::format("{}:{}", source.path.string(), line + 1);
}

std::string find_in(const Source& source, size_t begin, size_t end,
                    const std::vector<std::string>& callees) {
  for (const std::string& callee : callees) {
    for (size_t i = begin; i < end; ++i) {
      if (is_call(source.lines[i], callee)) return place(source, i);
    }
  }
  return "";
}

// As a word of its own, not as the end of a longer name.
bool mentions(const Source& source, const std::string& text) {
  return std::ranges::any_of(source.lines, [&](const std::string& line) {
    const size_t at = line.find(text);
    if (at == std::string::npos) return false;
    const char before = at == 0 ? ' ' : line[at - 1];
    return std::isalnum(static_cast<unsigned char>(before)) == 0 && before != '_';
  });
}

// The call in a struct that `heir` names, its own or one of another file: what inherits a forward()
// names the struct it has it from.
std::string find_inherited(const std::vector<Source>& sources, const Source& heir,
                           const std::vector<std::string>& callees) {
  constexpr std::string_view kStruct = "struct ";
  for (const Source& source : sources) {
    for (size_t i = 0; i < source.lines.size(); ++i) {
      const std::string& line = source.lines[i];
      if (!line.starts_with(kStruct)) continue;
      const std::string name =
          line.substr(kStruct.size(), line.find_first_of(" :{;", kStruct.size()) - kStruct.size());
      const bool is_named = mentions(heir, name + "<");
      if (!is_named) continue;
      size_t end = i;
      while (end < source.lines.size() && !source.lines[end].starts_with("};")) ++end;
      std::string found = find_in(source, i, end, callees);
      if (!found.empty()) return found;
    }
  }
  return "";
}

// Taps inside a module, and the calls that make them.
std::vector<std::string> makers_of(const std::string& tap) {
  if (tap == "q_rot" || tap == "k_rot") return {"apply_rotary_pos_emb(", "rope(", "attend("};
  if (tap == "topk_ids" || tap == "topk_weights" || tap == "router_logits") {
    return {"route(", "router_topk(", "topk("};
  }
  if (tap == "context" || tap == "scores" || tap == "probs" || tap == "v") {
    return {"attend(", "attention("};
  }
  return {tap + "(", "scan(", "conv("};
}

Wanted wanted_of(const Graph& graph, const std::string& path) {
  const std::string module = path.substr(0, path.find_first_of("/:#"));
  const size_t slash = path.find('/');
  const std::optional<uint32_t> call = graph.find_call(module);
  if (!call) return {};
  if (slash != std::string::npos) {
    const std::string tap = path.substr(slash + 1, path.find_first_of(":#", slash) - slash - 1);
    return {graph.calls[*call].class_name, makers_of(tap)};
  }
  const uint32_t parent = graph.calls[*call].parent;
  const std::string last = module.substr(module.find_last_of('.') + 1);
  const bool is_index =
      std::ranges::all_of(last, [](unsigned char c) { return std::isdigit(c) != 0; });
  Wanted wanted;
  wanted.caller = parent == kNoCall ? "" : graph.calls[parent].class_name;
  // A layer's own output, or a sum before one of its modules, is computed in its forward().
  if (is_index) return {graph.calls[*call].class_name, {"forward("}};
  wanted.callees = {last + "("};
  return wanted;
}

}  // namespace

std::string source_line(const std::vector<fs::path>& folders, const Graph& graph,
                        const std::string& path) {
  const Wanted wanted = wanted_of(graph, path);
  if (wanted.caller.empty()) return "";
  std::vector<Source> sources;
  for (const fs::path& folder : folders) {
    for (Source& source : read_sources(folder)) sources.push_back(std::move(source));
  }
  for (const Source& source : sources) {
    const std::optional<Region> region = region_of(source, wanted.caller);
    if (!region) continue;
    std::string found = find_in(source, region->begin, region->end, wanted.callees);
    if (found.empty()) found = find_inherited(sources, source, wanted.callees);
    return found.empty() ? place(source, region->named) : found;
  }
  return "";
}

}  // namespace lockstep::parity
