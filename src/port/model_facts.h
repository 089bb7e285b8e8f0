// What is known of a model without its weights: configuration, card, tensor headers.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "hub/checkpoint.h"
#include "hub/config.h"
#include "hub/tensor_list.h"

namespace lockstep::port {

struct ModelFacts {
  std::string model;             // as the user named it
  std::filesystem::path folder;  // config.json, card, tokenizer files, code; weights perhaps not
  ConfigFile config;
  TensorList tensors;      // from headers alone
  std::string class_name;  // architectures[0]; empty where config.json has none
  std::string model_type;
  std::string card;                // README.md without its front matter; empty where there is none
  std::string front_matter;        // of the card: licence, tags, base_model
  std::vector<std::string> files;  // what the folder, or the repository on the Hub, holds; sorted
  std::string no_tensors;          // of survey(): why `tensors` is empty, else empty

  /// A folder or a Hub id, of which the small files are fetched and the headers read by ranges.
  /// Throws as find_model_folder() and list_tensors() do.
  static ModelFacts open(const std::string& model);
  /// As open(), but what a port could not begin with is no error: weights that are not there or of
  /// a format that is not read leave `tensors` empty, a diffusion pipeline `config`.
  static ModelFacts survey(const std::string& model);
  /// The headers as trace() takes them.
  Checkpoint headers() const { return Checkpoint::from_headers(tensors.tensors); }
};

}  // namespace lockstep::port
