// What a model's card says that a porter must know, quoted with its lines.
#pragma once

#include <string>
#include <vector>

#include "port/model_facts.h"

namespace lockstep::port {

struct CardQuote {
  size_t line = 0;    // of README.md, from 1
  std::string about;  // "novelty", "prompt template", "kernel", "quantisation"
  std::string text;   // the sentence, cut where it is long
};

struct ModelCard {
  bool exists = false;
  std::string family;               // model_type, and base_model of the front matter
  std::vector<std::string> papers;  // "arXiv:2307.09288", each once
  std::vector<CardQuote> quotes;
  std::string chat_template;  // the file that holds it; empty where there is none
};

ModelCard read_card(const ModelFacts& facts);

}  // namespace lockstep::port
