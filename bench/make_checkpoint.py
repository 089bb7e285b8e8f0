#!/usr/bin/env python3
"""A checkpoint of Qwen3-0.6B's shape with made-up weights in bfloat16, to measure with: config.json and
model.safetensors, no tokenizer. Needs numpy. 1.2 GB.

usage: make_checkpoint.py FOLDER
"""
import json
import struct
import sys
from pathlib import Path

import numpy as np

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024,
    "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0, "rope_scaling": None, "max_position_embeddings": 40960,
    "tie_word_embeddings": True, "hidden_act": "silu", "attention_bias": False,
    "torch_dtype": "bfloat16", "bos_token_id": None, "eos_token_id": 151645,
}


def shapes(c):
    hidden, inner, head = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    yield "model.embed_tokens", (c["vocab_size"], hidden)
    for i in range(c["num_hidden_layers"]):
        layer = {
            "input_layernorm": (hidden,), "self_attn.q_proj": (q, hidden),
            "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
            "self_attn.o_proj": (hidden, q), "self_attn.q_norm": (head,),
            "self_attn.k_norm": (head,), "post_attention_layernorm": (hidden,),
            "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        for name, shape in layer.items():
            yield f"model.layers.{i}.{name}", shape
    yield "model.norm", (hidden,)


def bfloat16(values):
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    header, offset = {}, 0
    for name, shape in shapes(CONFIG):
        size = 2 * int(np.prod(shape))
        header[name + ".weight"] = {"dtype": "BF16", "shape": shape,
                                    "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # Times do not depend on the values: one stretch of them, again and again.
    noise = bfloat16(np.random.default_rng(1).standard_normal((1 << 22) + 7) * 0.02)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in shapes(CONFIG):
            n = int(np.prod(shape))
            (bfloat16(np.ones(n)) if len(shape) == 1 else np.resize(noise, n)).tofile(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
