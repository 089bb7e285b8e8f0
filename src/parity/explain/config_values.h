// What a config.json says, as numbers and texts by dotted path.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lockstep::parity {

class ConfigValues {
 public:
  ConfigValues() = default;
  /// Of several documents the first that has a key wins: the reference's, with its defaults filled
  /// in, before the file's. Documents that are no JSON objects are left out.
  explicit ConfigValues(const std::vector<std::string>& documents);

  /// By dotted path, "rope_parameters.rope_theta"; also looked for in text_config. Booleans are 0
  /// and 1.
  std::optional<double> number(std::string_view key) const;
  std::optional<std::string> text(std::string_view key) const;
  const std::vector<std::pair<std::string, double>>& numbers() const { return numbers_; }

 private:
  std::vector<std::pair<std::string, double>> numbers_;
  std::vector<std::pair<std::string, std::string>> texts_;
};

}  // namespace lockstep::parity
