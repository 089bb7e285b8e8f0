"""Writes checkpoints with random weights for what the fixtures are too regular to show: odd sizes, other branches of a family.

    python3 tests/reference/stress.py OUT [NAME ...]        # of tests/stress/NAME.json; all without names
    python3 reference/record.py OUT/NAME --output OUT/ref --detail --steps 4 --prompt-ids 11,48,85,...
    lockstep dump OUT/NAME --like OUT/ref --output OUT/port && lockstep diff OUT/ref OUT/port

A file holds the config, the seed, and as `measured` the relative L2 of the logits that this gave: 40 tokens (11 + 37 i modulo 211)
against the reference in float32, or in float64 where it is said. `attention` is what to record with, where not eager. With dynamic
rotary scaling a reference that has seen a long sequence keeps its frequencies: it is fed token by token after loading.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

CASES = Path(__file__).resolve().parent.parent / "stress"


def randomise(model):
    """Activations of a size near one everywhere, and no parameter left at a value that would hide it."""
    for name, parameter in model.named_parameters():
        if "A_log" in name:
            parameter.uniform_(-2, 2)
        elif parameter.dim() >= 2:
            parameter.normal_(0, 0.7 if "embed" in name else 1.2 / parameter.shape[-1] ** 0.5)
        else:
            parameter.add_(torch.randn_like(parameter) * (0.2 if "norm" in name and name.endswith("weight") else 0.3))


def main():
    out = Path(sys.argv[1])
    for name in sys.argv[2:] or sorted(case.stem for case in CASES.glob("*.json")):
        case = json.loads((CASES / f"{name}.json").read_text())
        torch.manual_seed(case["seed"])
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[case["model_type"]](**case["config"]), dtype=torch.float32)
        with torch.no_grad():
            randomise(model)
        model.save_pretrained(out / name)
        print(out / name)


if __name__ == "__main__":
    main()
