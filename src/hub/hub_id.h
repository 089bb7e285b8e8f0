// The id of a model on the Hub.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lockstep {

struct HubId {
  std::string name;  // "org/name" or "name"
  std::string revision = "main";

  /// "org/name" or "org/name@revision", as messages show it.
  std::string text() const;
  /// `org/name[@revision]` or `name[@revision]`; nothing when `text` cannot be an id. A revision
  /// may have slashes ("refs/pr/1"); no part of either can leave a folder.
  static std::optional<HubId> parse(std::string_view text);
};

/// Letters, digits, `-`, `_` and `.`; neither empty nor `.` nor `..`: safe as a file name.
bool is_hub_name(std::string_view part) noexcept;

/// Whether a path from a stranger stays inside the folder that it is relative to, and names a file.
bool stays_inside(std::string_view path);

}  // namespace lockstep
