#!/usr/bin/env python3
"""A Llama or Qwen3 checkpoint in Hugging Face layout as GGUF, so that llama.cpp can serve the very
weights that Lockstep serves: bfloat16 stays bfloat16. A folder without a tokenizer gets one of single
characters, which serves prompts of ids. Needs numpy and the `gguf` package.

usage: to_gguf.py FOLDER OUT.gguf
"""
import json
import struct
import sys
from pathlib import Path

import gguf
import numpy as np

LAYER = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
MODEL = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def tensors(path):
    """(name, array) of a safetensors file; bfloat16 as uint16."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    types = {"BF16": np.uint16, "F32": np.float32}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        data = np.memmap(path, np.uint8, "r", 8 + size + begin, (end - begin,))
        yield name, data.view(types[entry["dtype"]]).reshape(entry["shape"])


def gguf_name(name):
    stem = name.removesuffix(".weight")
    if stem in MODEL:
        return MODEL[stem] + ".weight"
    layer, part = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{LAYER[part]}.weight"


def interleaved(rows, n_heads):
    """Rows of each head from halves to pairs: llama.cpp rotates neighbours where the arch is llama."""
    head_dim = rows.shape[0] // n_heads
    return rows.reshape(n_heads, 2, head_dim // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def add_tensor(writer, name, array):
    if array.dtype == np.float32:
        writer.add_tensor(name, array)
    elif array.ndim == 1:  # llama.cpp multiplies by norms in float32
        writer.add_tensor(name, (array.astype(np.uint32) << 16).view(np.float32))
    else:
        writer.add_tensor(name, np.ascontiguousarray(array).view(np.uint8),
                          raw_dtype=gguf.GGMLQuantizationType.BF16)


def tokenizer_of(folder):
    file = folder / "tokenizer.json"
    if file.exists():
        return json.loads(file.read_text())
    letters = [chr(ord("a") + i) for i in range(26)]
    vocab = {text: i for i, text in enumerate([*letters, "ab"])}
    return {"model": {"vocab": vocab, "merges": ["a b"]}, "added_tokens": []}


def add_tokenizer(writer, folder, config):
    document = tokenizer_of(folder)
    names = [f"[unused{i}]" for i in range(config["vocab_size"])]
    types = [gguf.TokenType.UNUSED] * len(names)
    for text, i in document["model"]["vocab"].items():
        names[i], types[i] = text, gguf.TokenType.NORMAL
    for token in document["added_tokens"]:
        names[token["id"]], types[token["id"]] = token["content"], gguf.TokenType.CONTROL
    merges = [m if isinstance(m, str) else " ".join(m) for m in document["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2" if config["model_type"] == "qwen3" else "llama-bpe")
    writer.add_token_list(names)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


def main(folder, out):
    config = json.loads((folder / "config.json").read_text())
    arch, n_heads = config["model_type"], config["num_attention_heads"]
    theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    writer = gguf.GGUFWriter(out, arch)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(n_heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(theta)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    add_tokenizer(writer, folder, config)
    for name, array in tensors(folder / "model.safetensors"):
        if arch == "llama" and ".q_proj." in name:
            array = interleaved(array, n_heads)
        if arch == "llama" and ".k_proj." in name:
            array = interleaved(array, config["num_key_value_heads"])
        add_tensor(writer, gguf_name(name), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
