#!/usr/bin/env python3
"""Stress checkpoints: random models wider than the fixtures, and what transformers computes for them.

    python3 tests/stress/make_checkpoint.py tests/fixtures/stress/NAME ...      # from spec.json, the rest of the folder
    python3 tests/stress/make_checkpoint.py FOLDER --checkpoint DIR             # leaves the weights there, too

Needs what reference/record.py needs, and numpy. Weights are not committed: each element is a function of the seed, the
tensor's stored name and its index, in integers, so that tests/stress_checkpoint.h makes the same bytes. Committed are

    spec.json             model_type, config, seed, dtype, shards, tokens, chunk, attention, values, outliers, without,
                          renamed: docs/adding-an-architecture.md
    config.json           as save_pretrained writes it
    tensors.json          names, shapes and types that save_pretrained writes, and how the values are made
    expected.json         shape and floor of every tap, a checksum of the weights
    expected.safetensors  64 projections of every tap, and the norms of what they project

The projections are of a run in float64. The floor of a tap is how far the same run in float32 is from it.
"""
import argparse
import contextlib
import fnmatch
import json
import math
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "reference"))
import record  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402

MASK = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15
UNIT = 37837.2  # standard deviation of units()
BLOCKS = 8  # of rows, and of columns: 64 projections
NARROW = (torch.float32, torch.float16, torch.bfloat16, torch.complex64)
# Functional taps that ports name as well; what else the recorder finds below modules is left out.
FUNCTIONAL = ("q_rot", "k_rot", "v", "context", "router_logits", "topk_weights", "conv_state", "ssm_state")


# ---- numbers from a counter: the same in tests/stress_checkpoint.h ------------------------------------------------


def mix(x):
    """The finaliser of splitmix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def key_of(seed, name):
    key = 0xCBF29CE484222325  # FNV-1a
    for byte in name.encode():
        key = ((key ^ byte) * 0x100000001B3) & MASK
    return int(mix(np.array([(key + seed * STEP) & MASK], np.uint64))[0])


def draws(key, n):
    """64 random bits an element."""
    return mix(np.uint64(key) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(STEP))


def units(bits):
    """Sum of the four 16-bit fields, less its mean: an integer of 18 bits, about normal."""
    return sum(((bits >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64) for shift in (0, 16, 32, 48)) - 131070


def prompt_of(spec, vocab):
    return [int(x) for x in draws(key_of(spec["seed"], "prompt"), spec["tokens"]) % np.uint64(vocab)]


# ---- weights --------------------------------------------------------------------------------------------------------


def stored_tensors(config, dtype):
    """(name, shape, type) of what save_pretrained writes for a config, and its config.json."""
    with tempfile.TemporaryDirectory() as folder:
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        model.save_pretrained(folder)
        found = []
        for path in sorted(Path(folder).glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                found += [(n, file.get_slice(n).get_shape(), file.get_slice(n).get_dtype()) for n in file.keys()]
        return sorted(found), json.loads((Path(folder) / "config.json").read_text())


def matching(rules, name):
    return next((rule for pattern, rule in rules.items() if fnmatch.fnmatchcase(name, pattern)), None)


def row_of(spec, name, shape, dtype):
    """How a tensor's values are made: offset + units * 2^exponent; of an outlier's channel times a power of two."""
    offset, exponent = matching(spec.get("values", {}), name) or (None, None)
    if offset is None:
        is_norm = len(shape) == 1 and name.endswith(".weight")
        deviation = 1 / math.sqrt(shape[-1]) if len(shape) > 1 else 0.1
        offset, exponent = int(is_norm), round(math.log2(deviation / UNIT))
    row = {"name": name, "shape": shape, "dtype": dtype, "offset": offset, "exponent": exponent}
    outlier = matching(spec.get("outliers", {}), name)
    return row | ({"outlier": outlier} if outlier else {})


def collapse(rows):
    """Rows of experts that differ in the expert's number alone become one, with {} for the number and a count."""
    merged = {}
    for row in rows:
        name = re.sub(r"\.experts\.\d+\.", ".experts.{}.", row["name"])
        same = merged.setdefault(name, row | {"name": name, "count": 0})
        assert same | {"name": 0, "count": 0} == row | {"name": 0, "count": 0}, name
        same["count"] += 1
    return list(merged.values())


def expand(rows):
    for row in rows:
        for i in range(row["count"]):
            yield row | {"name": row["name"].replace("{}", str(i))}


def values_of(row, seed):
    n = math.prod(row["shape"])
    exact = row["offset"] + units(draws(key_of(seed, row["name"]), n)) * 2.0 ** row["exponent"]
    if "outlier" in row:
        channel, exponent = row["outlier"]
        exact[channel :: row["shape"][-1]] *= 2.0**exponent
    single = exact.astype(np.float32)
    assert (single == exact).all(), f"{row['name']}: no float32 holds its values"
    kind = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[row["dtype"]]
    return torch.from_numpy(single).to(kind).reshape(row["shape"])


def checksum(name, seed, tensor):
    bits = tensor.reshape(-1).view(torch.int32 if tensor.element_size() == 4 else torch.int16).numpy()
    bits = bits.astype(np.int64).astype(np.uint64) & np.uint64((1 << 8 * tensor.element_size()) - 1)
    return int(((bits + np.uint64(1)) * draws(key_of(seed, name), bits.size)).sum(dtype=np.uint64))


def write_checkpoint(folder, spec, config, rows):
    """The model as a folder of the Hub's; returns the checksum of all weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    rows, total, where, shards = list(expand(rows)), 0, {}, spec["shards"]
    names = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" if shards > 1 else "model.safetensors" for i in range(shards)]
    for shard, name in enumerate(names):
        tensors = {r["name"]: values_of(r, spec["seed"]) for i, r in enumerate(rows) if i * shards // len(rows) == shard}
        where |= dict.fromkeys(tensors, name)
        total += sum(checksum(n, spec["seed"], t) for n, t in tensors.items())
        save_file(tensors, folder / name, {"format": "pt"})
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return total & MASK


# ---- the reference --------------------------------------------------------------------------------------------------


class Doubled(TorchFunctionMode):
    """Float64 wherever the model asks for float32, as in its norms and softmax. The rotary tables stay float32: a float32
    angle is what the model is, not how it is rounded. Elsewhere nothing may make less than float64 of a float64: floors
    measured from such a run would be too small."""

    def __init__(self, model):
        super().__init__()
        self.depth = 0
        for path, module in model.named_modules():
            if path.endswith("rotary_emb"):
                module.register_forward_pre_hook(lambda *_: self.move(1))
                module.register_forward_hook(lambda *_: self.move(-1))

    def move(self, by):
        self.depth += by

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.depth:
            return func(*args, **kwargs)
        first, name = args[0] if args else None, getattr(func, "__name__", "")
        if isinstance(first, torch.Tensor) and first.dtype == torch.float64:
            if name == "float":
                return first
            args = tuple(torch.float64 if a is torch.float32 else a for a in args)
            kwargs = {k: torch.float64 if a is torch.float32 else a for k, a in kwargs.items()}
        result = func(*args, **kwargs)
        written = first if result is None or name.endswith("_") else result  # x[i] = y returns nothing
        if any(is_float(a, torch.float64) for a in (*args, *kwargs.values())) and is_float(written, *NARROW):
            raise SystemExit(f"{name}: the float64 run makes {written.dtype} of float64")
        return result


def is_float(x, *dtypes):
    return isinstance(x, torch.Tensor) and x.dtype in dtypes


class Sink:
    """Takes the place of a dump: keeps outputs as float64 arrays."""

    def __init__(self):
        self.tensors = {}

    def add(self, label, tensor):
        kind = label.rpartition(":")[2]
        name = label.rpartition(":")[0].rpartition("/")[2].partition("#")[0]
        if kind.startswith("output") and ("/" not in label[1:] or name in FUNCTIONAL):
            tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
            values = tensor.detach().to(torch.float64, copy=True).numpy()
            if name in ("k_rot", "v"):
                values = distinct_heads(values)
            # The order among the chosen experts is the implementation's own.
            self.tensors[label] = np.sort(values) if name == "topk_weights" else values
        return label, list(tensor.shape), str(tensor.dtype)


def distinct_heads(x):
    """[tokens, heads, dim] without the copies that a family makes of its key and value heads before it attends (Falcon)."""
    heads = x.shape[1]
    for copies in range(heads, 1, -1):
        if heads % copies == 0:
            groups = x.reshape(len(x), heads // copies, copies, -1)
            if (groups == groups[:, :, :1]).all():
                return np.ascontiguousarray(groups[:, :, 0])
    return x


def run(folder, dtype, ids, spec):
    """{(path, call, index): array} of every output of the prompt, fed in chunks where the spec says so."""
    model = record.load_model(folder, dtype, spec.get("attention", "eager"))
    session, layout = record.Session(model), record.Layout(model)
    chunk = spec.get("chunk") or len(ids)
    parts = {}
    if layout.moe:  # the default has no float64
        model.set_experts_implementation("eager")
    with record.full_precision(), Doubled(model) if dtype == "float64" else contextlib.nullcontext():
        layout.probe(session, ids)
        session.cache = None
        for begin in range(0, len(ids), chunk):
            sink, fed = Sink(), ids[begin : begin + chunk]
            taps = record.Taps(model, layout, sink, "", len(fed), "*", True, begin + chunk >= len(ids))
            with taps:
                session.feed(fed)
            taps.finish(session.cache, begin)
            kept = [tap for tap in taps.taps if tap["tensor"] in sink.tensors]
            found = {(tap["path"], tap["call"], tap["index"]): sink.tensors[tap["tensor"]] for tap in kept}
            for (path, call, index), x in found.items():
                # Further results only where they are of the same kind (cos and sin), as in recordings without --detail.
                is_kept = not any(fnmatch.fnmatchcase(path, pattern) for pattern in spec.get("without", []))
                if is_kept and x.shape == found[path, call, 0].shape:
                    for old, new in spec.get("renamed", {}).items():
                        path = path.replace(old, new)
                    parts.setdefault((path, call, index), []).append(x)
    return {key: np.concatenate(arrays) for key, arrays in parts.items()}


# ---- projections ----------------------------------------------------------------------------------------------------


def buckets_of(shape):
    """Of every element: its eighth of the rows (first dimension) times 8, plus its eighth of the columns."""
    rows, columns = shape[0], math.prod(shape[1:])
    of_row, of_column = np.arange(rows) * BLOCKS // rows, np.arange(columns) * BLOCKS // columns
    return (of_row[:, None] * BLOCKS + of_column).reshape(-1)


def sums(x, buckets):
    return np.bincount(buckets, x.reshape(-1), BLOCKS * BLOCKS)


def project(x, key, buckets):
    """One sum a bucket, of its elements with random signs: its square has the bucket's energy as its mean."""
    signs = 1.0 - 2.0 * (draws(key, x.size) >> np.uint64(63)).astype(np.float64)
    return sums(x.reshape(-1) * signs, buckets)


def relative(errors, norms):
    """Of the whole tensor, and the mean over buckets, which no large channel hides anything from."""
    whole = math.sqrt(float((errors**2).sum()) / max(float((norms**2).sum()), 1e-300))
    used = norms > 0
    return whole, math.sqrt(float(((errors[used] / norms[used]) ** 2).mean())) if used.any() else 0.0


def judge(exact, single, spec):
    taps, projections, norms = [], [], []
    for path, call, index in sorted(exact):
        a, b = exact[path, call, index], single[path, call, index]
        assert a.shape == b.shape, path
        buckets, key = buckets_of(a.shape), key_of(spec["seed"], f"{path}.{index}")
        projected, norm = project(a, key, buckets), np.sqrt(sums(a**2, buckets))
        floor = relative(np.sqrt(sums((b - a) ** 2, buckets)), norm)
        seen = relative(project(b, key, buckets) - projected, norm)
        taps.append({"path": path, "call": call, "index": index, "shape": list(a.shape),
                     "floor": [float(f"{x:.4g}") for x in floor], "projected_floor": [float(f"{x:.4g}") for x in seen]})
        projections.append(projected)
        norms.append(norm)
    return taps, torch.tensor(np.array(projections)), torch.tensor(np.array(norms), dtype=torch.float32)


def lines(head, key, rows):
    """JSON with one row a line."""
    body = ",\n  ".join(json.dumps(row) for row in rows)
    return json.dumps(head, indent=1)[:-2] + f',\n "{key}": [\n  {body}\n ]\n}}\n'


def make(folder, checkpoint):
    spec = json.loads((folder / "spec.json").read_text())
    config = transformers.AutoConfig.for_model(spec["model_type"], **spec["config"])
    tensors, written = stored_tensors(config, spec["dtype"])
    rows = collapse([row_of(spec, *tensor) for tensor in tensors])
    ids = prompt_of(spec, config.vocab_size)
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(checkpoint or temporary)
        total = write_checkpoint(model, spec, written, rows)
        exact, single = run(model, "float64", ids, spec), run(model, "float32", ids, spec)
    for key, chosen in exact.items():
        if key[0].endswith("/topk_weights") and np.abs(chosen - single[key]).max() > 1e-3 * np.abs(chosen).max():
            raise SystemExit(f"{folder.name}: {key[0]}: float32 chooses other experts than float64; take another seed")
    taps, projections, norms = judge(exact, single, spec)
    (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n")
    (folder / "tensors.json").write_text(lines({"format": 1}, "tensors", rows))
    head = {"producer": {"transformers": transformers.__version__, "torch": torch.__version__}, "checksum": f"{total:016x}"}
    (folder / "expected.json").write_text(lines(head, "taps", taps))
    save_file({"projections": projections, "norms": norms}, folder / "expected.safetensors")
    worst = [max(t["floor"][i] for t in taps) for i in (0, 1)]
    print(f"{folder.name}: {len(taps)} taps, floor at most {worst[0]:.2g} whole, {worst[1]:.2g} by bucket")


def main():
    parser = argparse.ArgumentParser(description="Makes stress checkpoints and what transformers computes for them.")
    parser.add_argument("folders", nargs="+", type=Path, help="folders that hold a spec.json")
    parser.add_argument("--checkpoint", help="leave the checkpoint in this folder")
    args = parser.parse_args()
    for folder in args.folders:
        make(folder, args.checkpoint)


if __name__ == "__main__":
    main()
