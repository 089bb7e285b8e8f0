// Where the reference's modelling code of a model is, and what of it to read in which order.
#pragma once

#include <string>
#include <vector>

#include "port/config_keys.h"
#include "port/model_facts.h"

namespace lockstep::port {

struct ReferenceSource {
  std::string version;      // transformers_version of config.json; empty where it has none
  std::string module_name;  // the folder below transformers/models
  std::string url;          // of the modelling file at that version
  std::string custom_code;  // the repository's own modelling file; empty where there is none
  std::string local_file;   // of the installed transformers; empty where it has none
  std::string local_version;
  /// What to read in which order: "class LlamaConfig, modeling_llama.py:120".
  std::vector<std::string> order;
};

/// `python` is asked where transformers is, without importing it; a machine without either is no
/// error.
ReferenceSource find_reference(const ModelFacts& facts, const ConfigKeys& keys,
                               const std::string& python);

}  // namespace lockstep::port
