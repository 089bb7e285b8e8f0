// A model's files from the Hub into the cache.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hub/hub_id.h"
#include "hub/hub_repository.h"
#include "hub/hub_settings.h"

namespace lockstep {

/// Where a model is: a folder as it was named, or an id and its folder in the cache.
struct ModelPlace {
  std::filesystem::path folder;  // empty when nothing of it is in the cache
  std::optional<HubId> id;
  /// The cache lacks it or files of its weights, and the Hub may be asked.
  bool is_missing = false;
};

/// Throws kNotFound for what is neither a folder nor an id, and, offline, for an id that the cache
/// lacks, saying what was looked for where.
ModelPlace find_model(const std::string& model, const HubSettings& settings);

enum class DownloadParts { kAll, kAllButWeights };

/// Fetches what the cache lacks: the configuration, tokenizer, templates, model card and code of
/// the model, and its weights as safetensors; several files at once, each continued where an
/// earlier run broke off. Every file is checked against size and hash before it takes its name; the
/// revision points at the new commit only when all are there. Returns the snapshot's folder.
/// Throws kResourceExhausted before anything large is fetched when the disk is too small,
/// kUnimplemented when there are no safetensors, else as HubRepository does.
std::filesystem::path download_model(const HubSettings& settings, const HubId& id,
                                     DownloadParts parts);

/// Of the listing; throws kNotFound naming it.
const HubFile& require_file(const HubListing& listing, const std::string& path);
/// Says that there are no weights that can be read, and which there are.
[[noreturn]] void refuse_weights(const HubListing& listing);

}  // namespace lockstep
