// The id of a model on the Hub.
#include "hub/hub_id.h"

#include <algorithm>
#include <filesystem>

namespace lockstep {
namespace {

bool is_revision(std::string_view revision) {
  for (size_t begin = 0; begin <= revision.size();) {
    const size_t end = std::min(revision.find('/', begin), revision.size());
    if (!is_hub_name(revision.substr(begin, end - begin))) return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace

bool is_hub_name(std::string_view part) noexcept {
  return !part.empty() && part != "." && part != ".." &&
         std::all_of(part.begin(), part.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

bool stays_inside(std::string_view path) {
  if (path.empty() || path.find('\0') != std::string_view::npos) return false;
  const std::filesystem::path parts(path);
  if (parts.is_absolute() || !parts.has_filename()) return false;
  return std::none_of(parts.begin(), parts.end(),
                      [](const std::filesystem::path& part) { return part == ".."; });
}

std::string HubId::text() const { return revision == "main" ? name : name + "@" + revision; }

std::optional<HubId> HubId::parse(std::string_view text) {
  HubId id;
  const size_t at = text.find('@');
  if (at != std::string_view::npos) {
    id.revision = text.substr(at + 1);
    text = text.substr(0, at);
  }
  id.name = text;
  const size_t slash = text.find('/');
  const bool named = slash == std::string_view::npos ? is_hub_name(text)
                                                     : is_hub_name(text.substr(0, slash)) &&
                                                           is_hub_name(text.substr(slash + 1));
  if (!named || !is_revision(id.revision)) return std::nullopt;
  return id;
}

}  // namespace lockstep
