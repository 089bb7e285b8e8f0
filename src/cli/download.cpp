// lockstep download: a model from the Hub into the cache.
#include "hub/download.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "lockstep/error.h"

namespace lockstep::cli {
namespace {

struct DownloadOptions {
  std::string model;
  bool json = false;
};

int download(const DownloadOptions& options) {
  const std::optional<HubId> id = HubId::parse(options.model);
  if (!id.has_value()) {
    throw Error(ErrorCode::kInvalidArgument,
                "MODEL: expected org/name[@revision], found " + options.model,
                "a folder needs no download");
  }
  const std::filesystem::path folder =
      download_model(HubSettings::from_environment(), *id, DownloadParts::kAll);
  if (options.json) {
    fmt::print("{}\n", nlohmann::json{{"hf_id", id->text()}, {"folder", folder.string()}}.dump());
  } else {
    fmt::print("{}\n", folder.string());
    fmt::print(stderr, "next: lockstep graph {}\n", id->text());
  }
  return 0;
}

}  // namespace

void add_download(CLI::App& app, Action& action) {
  auto options = std::make_shared<DownloadOptions>();
  CLI::App* command = add_command(
      app, "download", "Fetch a model from the Hub into its cache, or bring it up to date",
      "lockstep download org/name@main");
  command->add_option("MODEL", options->model, "Hub id, org/name[@revision]")->required();
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return download(*options); };
  });
}

}  // namespace lockstep::cli
