// The Hub's cache on disk, laid out as huggingface_hub does, so that both read what either wrote.
//
//   <cache>/models--org--name/refs/<revision>        the commit, as text
//   <cache>/models--org--name/snapshots/<commit>/    the folder: links into blobs/
//   <cache>/models--org--name/blobs/<etag>           contents; <etag>.incomplete while they come
//   <cache>/.locks/models--org--name/<etag>.lock     held while a blob is written
#pragma once

#include <filesystem>
#include <string>

#include "hub/hub_id.h"

namespace lockstep {

class HubCache {
 public:
  HubCache(const std::filesystem::path& root, const HubId& id);

  const std::filesystem::path& repository() const noexcept { return repository_; }
  std::filesystem::path snapshot(const std::string& commit) const;
  std::filesystem::path blob(const std::string& etag) const;
  std::filesystem::path lock(const std::string& etag) const;

  /// The folder that the id's revision stands for. Throws kNotFound saying what was looked for
  /// where, kInvalidArgument for a ref that holds no commit.
  std::filesystem::path find() const;
  /// Points refs/<revision> at `commit`; nothing where the revision is the commit itself.
  void set_ref(const std::string& commit) const;
  /// Makes snapshots/<commit>/<path> a relative link to the blob, in the place of what was there.
  void link(const std::string& commit, const std::string& path, const std::string& etag) const;

 private:
  HubId id_;
  std::filesystem::path root_, repository_;
};

/// Whether `folder` has config.json and every file of weights that transformers would load.
bool is_complete_model(const std::filesystem::path& folder);

}  // namespace lockstep
