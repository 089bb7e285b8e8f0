#!/usr/bin/env python3
"""Speed and memory of `lockstep diff` on two made-up dumps, against numpy in float64 in the same run.

    bench/diff_bench.py --lockstep build/release/bin/lockstep [--gib 4] [--threads 2] [--numpy-taps 6]

Both files are read once before the clock starts (warm cache). numpy computes the same measures (cosine, relative L2,
mean and max with its place, scale, per token, per channel, finiteness, content hash; for logits top-5 and KL) tap by
tap, on a sample of the taps, and its rate is compared with that of the whole run of `lockstep diff`.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

TOKENS, WIDTH = 4096, 4096


def tap_paths(n_layers):
    return (["model.embed_tokens"] + [f"model.layers.{i}" for i in range(n_layers)] + ["model.norm"])


def write_side(folder, n_layers, port):
    """Manifest and one safetensors file; the port is the reference with noise of one part in ten million."""
    folder.mkdir()
    names = tap_paths(n_layers) + ["logits"]
    size = TOKENS * WIDTH * 4
    header = {
        f"r/{name}": {"dtype": "F32", "shape": [TOKENS, WIDTH], "data_offsets": [i * size, (i + 1) * size]}
        for i, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "tensors.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for i in range(len(names)):
            values = np.random.default_rng(i).standard_normal((TOKENS, WIDTH), dtype=np.float32)
            if port:
                noise = np.random.default_rng(1000).standard_normal(WIDTH, dtype=np.float32)
                values *= 1 + 2e-7 * noise
            values.tofile(file)
    taps = [{"path": name, "class": "", "role": "output", "name": None, "index": 0, "call": 0, "tensor": f"r/{name}",
             "shape": [TOKENS, WIDTH], "stored_dtype": "float32"} for name in names[:-1]]
    run = {"id": "r", "dtype": "float32", "attention": "eager", "device": "cpu", "prompt": 0,
           "prompt_ids": [i % 1000 for i in range(TOKENS)], "phase": "prefill", "step": 0, "logits": "r/logits",
           "taps": taps}
    manifest = {"format": "lockstep-dump", "version": 1, "producer": {"name": "diff_bench"}, "model": "made-up",
                "architecture": "", "config": {"num_hidden_layers": n_layers}, "runs": [run], "greedy": [],
                "files": ["tensors.safetensors"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def mapped(folder, index):
    path = folder / "tensors.safetensors"
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    return np.memmap(path, np.float32, "r", start + index * TOKENS * WIDTH * 4, (TOKENS, WIDTH))


def compare_numpy(ref32, port32, logits):
    ref, port = ref32.astype(np.float64), port32.astype(np.float64)
    diff = port - ref
    finite = np.isfinite(ref).all() and np.isfinite(port).all()
    dd, dr, rr, pp = diff * diff, diff * ref, ref * ref, port * port
    size = np.abs(diff)
    at = np.unravel_index(size.argmax(), size.shape)
    total = [x.sum() for x in (dd, dr, rr, pp)]
    by_token = [x.sum(axis=1) for x in (dd, dr, rr)] + [size.max(axis=1)]
    by_channel = [x.sum(axis=0) for x in (dd, dr, rr)]
    largest = np.argsort(by_channel[2])[-8:]
    keep = np.ones(WIDTH, bool)
    keep[largest] = False
    trimmed = [x[keep].sum() for x in by_channel]
    out = [finite, total[0] / total[2], (total[1] + total[2]) / np.sqrt(total[2] * total[3]), size.mean(), at,
           ref[at], port[at], by_token, trimmed, zlib.crc32(ref32.data), zlib.crc32(port32.data)]
    if logits:
        top = [np.argpartition(x, -5, axis=1)[:, -5:] for x in (ref, port)]
        log = [x - x.max(axis=1, keepdims=True) for x in (ref, port)]
        log = [x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in log]
        out += [top, (np.exp(log[0]) * (log[0] - log[1])).sum(axis=1)]
    return out


def warm(folder):
    with open(folder / "tensors.safetensors", "rb") as file:
        while file.read(1 << 24):
            pass


def run_lockstep(command):
    """Seconds, peak bytes and exit status of a child."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - start, usage.ru_maxrss * 1024, child.returncode, output


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lockstep", default="build/release/bin/lockstep")
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--numpy-taps", type=int, default=6)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", help="where the dumps go (default: a temporary folder)")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="diff-bench-", dir=args.folder))
    try:
        n_taps = max(4, round(args.gib * (1 << 30) / (TOKENS * WIDTH * 4)))
        ref, port = folder / "reference", folder / "port"
        write_side(ref, n_taps - 3, False)
        write_side(port, n_taps - 3, True)
        warm(ref)
        warm(port)
        total = 2 * n_taps * TOKENS * WIDTH * 4
        command = [args.lockstep, "diff", str(ref), str(port), "--json", "--threads", str(args.threads)]
        runs = [run_lockstep(command) for _ in range(args.repeat)]
        seconds, peak, status, output = min(runs)
        verdict = json.loads(output)["verdict"]
        indices = [0] + list(range(1, max(2, args.numpy_taps)))
        start = time.perf_counter()
        for index in indices:
            compare_numpy(mapped(ref, index), mapped(port, index), False)
        body = (time.perf_counter() - start) / len(indices)
        start = time.perf_counter()
        compare_numpy(mapped(ref, n_taps - 1), mapped(port, n_taps - 1), True)
        numpy_seconds = body * (n_taps - 1) + time.perf_counter() - start
        rate, numpy_rate = total / seconds / 1e9, total / numpy_seconds / 1e9
        print(f"diff of two dumps of {total / 2 / (1 << 30):.2f} GiB, {args.threads} threads, warm cache: "
              f"{seconds:.2f} s, {rate:.2f} GB/s, peak {peak / (1 << 20):.0f} MiB, verdict {verdict}")
        print(f"numpy float64, the same measures: {numpy_seconds:.1f} s, {numpy_rate:.3f} GB/s")
        print(f"ratio {rate / numpy_rate:.1f}")
        return 0 if status == 0 and rate >= 5 * numpy_rate and peak < 512 << 20 else 1
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
