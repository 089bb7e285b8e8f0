"""Writes the defaults of transformers' config classes, one file a model_type, for config_defaults_test.cpp.

    python3 tests/reference/config_defaults.py tests/config_defaults gpt_neox phi ...
"""

import json
import sys
from pathlib import Path

from transformers import CONFIG_MAPPING

# Of every config, and no part of a model.
GENERAL = {"architectures", "chunk_size_feed_forward", "dtype", "id2label", "is_encoder_decoder", "label2id", "model_type",
           "output_attentions", "output_hidden_states", "problem_type", "return_dict", "transformers_version", "_name_or_path"}
# Older keys that the class takes but does not keep.
OLDER = {"glm4": {"partial_rotary_factor": 0.5}, "gpt_neox": {"rotary_emb_base": 10000.0, "rotary_pct": 0.25},
         "phi": {"partial_rotary_factor": 0.5}, "qwen3_next": {"partial_rotary_factor": 0.25},
         "stablelm": {"partial_rotary_factor": 0.25}}


def main():
    folder = Path(sys.argv[1])
    for model_type in sys.argv[2:]:
        config_class = CONFIG_MAPPING[model_type]
        kept = {key: value for key, value in config_class().to_dict().items() if key not in GENERAL}
        # As the class states them, not as it derives them from other defaults; of the frequencies what it makes of None.
        kept |= {key: vars(config_class)[key] for key in kept if key in config_class.__annotations__ and key != "rope_parameters"}
        kept |= OLDER.get(model_type, {})
        folder.joinpath(f"{model_type}.json").write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
