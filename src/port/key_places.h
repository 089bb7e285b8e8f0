// Where an architecture's source asks for a key of config.json.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lockstep::port {

class KeyPlaces {
 public:
  /// Of the SDK's headers, lockstep/archs/<slug>.h first; without an SDK every answer is empty.
  explicit KeyPlaces(const std::string& slug);
  /// "archs/llama.h:23" of the first line that has the key's last part in quotes; else empty.
  std::string find(std::string_view key) const;

 private:
  std::vector<std::pair<std::string, std::string>> headers_;  // name and text
};

}  // namespace lockstep::port
