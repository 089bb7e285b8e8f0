// The text model of a wrapper: of a checkpoint that also sees images or hears.
//
//   LOCKSTEP_ARCHITECTURE(my_vlm, "Gemma3ForConditionalGeneration", "model",
//                         TextBackbone<gemma3_text::Gemma3ForCausalLM>)
//
// Its keys are read from `text_config`. Its weights may be stored in any layout that transformers
// has written: model.language_model.* with lm_head.*, language_model.model.* with
// language_model.lm_head.*, language_model.* (a base model), or as those of the text model alone.
// Module paths, and so taps, are those of the wrapper's reference, model.language_model.*. What
// belongs to other senses is declared unused; of embedding and head, rows beyond the vocabulary
// are.
#pragma once

#include <string>
#include <vector>

#include "lockstep/config.h"
#include "lockstep/module.h"
#include "lockstep/step.h"

namespace lockstep {

/// What most wrappers agree on. One that does not has its own:
///   struct Idefics3Layout : WrapperLayout {
///     static constexpr const char* kPath = "model.text_model";
///   };
struct WrapperLayout {
  /// The key of the text model's configuration. Where config.json lacks it, its own keys are taken.
  static constexpr const char* kConfig = "text_config";
  /// The text model's base_model_prefix, and the module path that the wrapper's reference has for
  /// it.
  static constexpr const char* kTextPrefix = "model";
  static constexpr const char* kPath = "model.language_model";
  /// What stands before the text model's own names in a checkpoint.
  static constexpr const char* kStoredPrefixes[] = {"language_model.", ""};
  /// Weights of one row a token, in the text model's names.
  static constexpr const char* kVocabularyWeights[] = {"model.embed_tokens.weight",
                                                       "lm_head.weight"};
  /// Modules of other senses, at the top of the checkpoint or below `model`.
  static constexpr const char* kOtherSenses[] = {
      "vision_tower",   "vision_model",  "visual",        "vision_encoder",
      "embed_vision",   "image_tower",   "video_tower",   "vision_embed_tokens",
      "audio_tower",    "audio_encoder", "audio_model",   "embed_audio",
      "mm_projector",   "projector",     "connector",     "multi_modal_projector",
      "vision_adapter", "image_newline", "mm_input_norm", "patch_merger",
      "aligner",        "qformer",       "resampler",     "vision_projection"};
};

/// Model: the text model's whole class, (Scope, const Config&), called with a Step.
template <class Model, class Layout = WrapperLayout>
class TextBackbone {
 public:
  TextBackbone(const Scope& s, const Config& c) : model_(inside(s), c) {}
  Value operator()(const Step& step) const { return model_(step); }

 private:
  template <class Names>
  static std::vector<const char*> list(const Names& names) {
    return {std::begin(names), std::end(names)};
  }
  static Scope inside(const Scope& s) {
    // transformers ties by the outer configuration, of which older files leave the key to the inner
    // one.
    s.builder().inside({Layout::kConfig,
                        Layout::kTextPrefix,
                        Layout::kPath,
                        {"tie_word_embeddings"},
                        list(Layout::kStoredPrefixes),
                        list(Layout::kVocabularyWeights)});
    for (const std::string name : Layout::kOtherSenses) {
      for (const std::string& path : {name, "model." + name}) {
        for (const std::string& pattern : {path, path + ".*"}) {
          s.builder().drop(pattern.c_str(), "not of the text model: images, video or sound");
        }
      }
    }
    return s;
  }

  Model model_;
};

}  // namespace lockstep
