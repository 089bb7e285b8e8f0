#!/usr/bin/env python3
"""Makes a test case for a port: a model of two layers with weights from a seed, and what transformers computes of it.

    python3 make_case.py MODEL --output DIR --seed 1

MODEL is a folder with a config.json; its sizes are cut down to what a test needs, and what they say of each other kept.
DIR becomes a folder in Hugging Face layout, with case.json (seed, versions) and golden/ (a recording, by record.py).
Needs torch, transformers and safetensors. Exit status: 0 made; 2 not, and why stands on stderr.
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

LAYERS = 2
VOCABULARY = 512
# The most that each size may be; a size that is smaller stays.
LIMITS = {"head_dim": 32, "intermediate_size": 192, "ffn_dim": 192, "n_inner": 192, "ffn_hidden_size": 192,
          "moe_intermediate_size": 64, "shared_expert_intermediate_size": 64, "shared_intermediate_size": 64,
          "num_experts": 8, "num_local_experts": 8, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 2,
          "topk_group": 1, "q_lora_rank": 48, "kv_lora_rank": 32, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16,
          "v_head_dim": 32, "max_position_embeddings": 256, "n_positions": 256, "sliding_window": 16, "state_size": 16,
          "max_window_layers": 1, "first_k_dense_replace": 1, "num_nextn_predict_layers": 0, "vocab_size_per_layer_input": 512}
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEAD_KEYS = ("num_attention_heads", "n_head", "n_heads")
GROUP_KEYS = ("num_key_value_heads", "num_kv_heads")
WIDTH_KEYS = ("hidden_size", "n_embd", "d_model", "dim")
HEADS = 4


def first(config, keys):
    return next((key for key in keys if isinstance(config.get(key), int)), None)


def shrink(config):
    """Cuts a configuration down in place: layers, heads, widths, experts, vocabulary."""
    layers = first(config, LAYER_KEYS)
    n_layers = config[layers] if layers else 0
    if layers:
        config[layers] = min(n_layers, LAYERS)
    for key, value in config.items():
        if isinstance(value, list) and n_layers > LAYERS and len(value) == n_layers:
            # The first of each kind, so that both layers tell something.
            kinds = sorted({json.dumps(v) for v in value}, key=[json.dumps(v) for v in value].index)
            config[key] = [json.loads(v) for v in (kinds * LAYERS)[:LAYERS]]
    heads, groups, width = first(config, HEAD_KEYS), first(config, GROUP_KEYS), first(config, WIDTH_KEYS)
    if heads and width:
        n, size = config[heads], config[width]
        head_dim = min(config.get("head_dim") or max(size // n, 1), LIMITS["head_dim"])
        if n > HEADS or size > HEADS * head_dim * 2:
            config[heads] = min(n, HEADS)
            if groups:
                config[groups] = config[heads] if config[groups] == n else 1 if config[groups] == 1 else max(config[heads] // 2, 1)
            config[width] = config[heads] * head_dim
    for key, most in LIMITS.items():
        if isinstance(config.get(key), int) and not isinstance(config.get(key), bool) and config[key] > most:
            config[key] = most
    if isinstance(config.get("vocab_size"), int):
        config["vocab_size"] = min(config["vocab_size"], VOCABULARY)
        for key in [k for k in config if k.endswith("_token_id")]:
            if isinstance(config[key], int) and config[key] >= config["vocab_size"]:
                config[key] = None
    for value in config.values():
        if isinstance(value, dict):
            shrink(value)
    return config


def fill(model, seed):
    """Weights of a size at which every part of the model matters: about 1/sqrt(inputs), norms about 1."""
    import torch
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            if parameter.dim() > 1:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
            else:
                parameter.add_((noise * 0.1).to(parameter.dtype))


def make(source, output, seed):
    import torch
    import transformers
    config = shrink(json.loads((source / "config.json").read_text()))
    config.pop("quantization_config", None)
    output.mkdir(parents=True)
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    torch.manual_seed(seed)
    read = transformers.AutoConfig.from_pretrained(output)
    kinds = (transformers.AutoModelForCausalLM, getattr(transformers, "AutoModelForImageTextToText", None))
    model = None
    for kind in filter(None, kinds):
        try:
            model = kind.from_config(read)
            break
        except ValueError as error:
            refusal = error
    if model is None:
        raise refusal
    fill(model, seed)
    model.save_pretrained(output)
    vocabulary = model.config.get_text_config().vocab_size
    case = {"seed": seed, "transformers": transformers.__version__, "torch": torch.__version__}
    (output / "case.json").write_text(json.dumps(case, indent=2) + "\n")
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, vocabulary, (n,), generator=generator).tolist() for n in (24, 7)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        prompts = make(args.model, args.output, args.seed)
    except Exception as error:  # whatever a library throws, its message is what helps
        print(f"make_case.py: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", file=sys.stderr)
        return 2
    command = [sys.executable, str(Path(__file__).with_name("record.py")), str(args.output), "--output",
               str(args.output / "golden"), "--steps", "2"]
    for ids in prompts:
        command += ["--prompt-ids", ",".join(map(str, ids))]
    return subprocess.run(command, stdout=sys.stderr).returncode


if __name__ == "__main__":
    sys.exit(main())
