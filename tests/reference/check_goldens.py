#!/usr/bin/env python3
"""Do recordings made with reference/record.py equal the fixtures' goldens, which another script made on a GPU?

    python3 tests/reference/check_goldens.py FIXTURES [NAME ...] [--limit 1e-6] [--dtype float32] [--json F]

FIXTURES is the folder that holds models/. Every fixture is recorded through the library (dumps in a temporary folder, read
back from disk) and compared: logits of every prompt, the last 16 of the long text, every module output of prompt 0 (out.*),
the upper levels for 64 tokens (out64.*), and each decode step along the golden's own text (steps.*: the logits at its 16
highest ids, and the log of the sum of exponentials). Differences are relative L2 norms. Exit status: 0 all within the
limit; 1 some beyond it; 2 a fixture could not be recorded.
"""
import argparse
import json
import re
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "reference"))
import torch
import transformers
from record import Dump, full_precision, load_model, record, relative
from safetensors.torch import load_file

FAMILIES = ("logits", "long", "out", "out64", "steps")  # these are held to the limit, tensor by tensor
SHOWN = (*FAMILIES, "1 step")  # the worst single step: 16 numbers, so noisier than a tensor; shown, not judged


def same_layout(golden, ours):
    """A golden as the dump lays it out: no batch, tokens first, a convolution's padding cut off."""
    if golden.is_complex():
        golden = torch.view_as_real(golden)
    while golden.dim() > ours.dim() and golden.shape[0] == 1:
        golden = golden[0]
    for axis in range(golden.dim()):  # the first axis that fits: no fixture has as many heads or channels as tokens
        moved = golden.movedim(axis, 0)[:ours.shape[0]]
        if moved.shape == ours.shape:
            return moved
    return golden


def check(folder, dtype, scratch, device):
    """{family: (worst, where)}, what the golden has and the dump has not, coverage."""
    expected = json.loads((folder / "golden/expected.json").read_text())
    golden = load_file(folder / "golden/golden.safetensors")
    run = expected["runs"][dtype]
    model = load_model(folder, dtype, "eager", device)
    prompts, long_ids = expected["prompt_ids"], expected["long_ids"]
    worst = {family: (0.0, "") for family in SHOWN}
    missing = []

    def compare(family, where, ours, theirs):
        difference = relative(ours.float(), same_layout(theirs, ours).float())
        if not difference <= worst[family][0]:
            worst[family] = (difference, where)

    record(model, [prompts[0], long_ids[:64]], scratch / "taps", greedy_tokens=0)
    dump = Dump(scratch / "taps")
    outputs = []
    for entry in dump.manifest["runs"]:
        calls = defaultdict(list)
        for tap in entry["taps"]:
            if tap["role"] == "output" and tap["index"] == 0:
                calls[tap["path"]].append(dump[tap["tensor"]])
        outputs.append(calls)
    for key, theirs in golden.items():
        match = re.fullmatch(rf"{dtype}\.(out|out64)\.([^#]*)(#\d+)?", key)
        if match:
            calls = outputs[0 if match[1] == "out" else 1][match[2]]
            if calls:
                # The order of repeated calls is no fact about the model (gemma3 walks a Python set of its layer types), and the
                # goldens do not hold the arguments that tell the calls apart: each is held against the call nearest to it.
                distance = [relative(ours.float(), same_layout(theirs, ours).float()) for ours in calls]
                nearest = distance.index(min(distance))
                compare(match[1], match[2] + (match[3] or ""), calls.pop(nearest) if len(calls) > 1 else calls[0], theirs)
            else:
                missing.append(match[2])
    compared = sum(key.startswith(f"{dtype}.out") for key in golden) - len(missing)

    texts = [*run["greedy"], run["greedy_long"]]
    names = [*map(str, range(len(prompts))), "long"]
    for ids, text, name in zip([*prompts, long_ids], texts, names):
        top_ids = golden[f"{dtype}.steps.{name}.top_ids"].long()
        record(model, [ids], scratch / f"steps-{name}", taps="", greedy_tokens=0, steps=len(top_ids) - 1, continuation=[text])
        steps = Dump(scratch / f"steps-{name}")
        logits = [steps[entry["logits"]].float() for entry in steps.manifest["runs"]]
        if name == "long":
            compare("long", "long_logits_last16", logits[0][-16:], golden[f"{dtype}.long_logits_last16"])
        else:
            compare("logits", f"prompt {name}", logits[0], golden[f"{dtype}.logits.{name}"])
        last = torch.stack([row[-1] for row in logits])
        top_logits = golden[f"{dtype}.steps.{name}.top_logits"]
        compare("steps", f"{name} top_logits", last.gather(-1, top_ids), top_logits)
        for step in range(len(top_ids)):
            compare("1 step", f"{name} step {step}", last[step, top_ids[step]], top_logits[step])
        compare("steps", f"{name} logsumexp", last.logsumexp(-1), golden[f"{dtype}.steps.{name}.logsumexp"])
    dropped = [p for p in missing if re.search(r"drop", p)]
    return worst, compared, [p for p in missing if p not in dropped], dump.manifest["coverage"][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fixtures", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--limit", type=float, default=1e-6)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {args.dtype}, {args.device}, limit {args.limit:g}")
    print(f"{'model':14}" + "".join(f"{family:>9}" for family in SHOWN) + "  modules  compared  absent here")
    report, status = {}, 0
    for name in args.names or sorted(p.name for p in (args.fixtures / "models").iterdir()):
        began = time.time()
        try:
            with tempfile.TemporaryDirectory() as scratch, full_precision():
                worst, compared, missing, covered = check(args.fixtures / "models" / name, args.dtype, Path(scratch), args.device)
        except Exception as error:
            print(f"{name:14}{type(error).__name__}: {error}")
            status = 2
            continue
        beyond = [family for family in FAMILIES if not worst[family][0] <= args.limit]
        status = status or (1 if beyond else 0)
        absent = sorted({re.sub(r"\.\d+\.", ".N.", p) for p in missing})
        print(f"{name:14}" + "".join(f"{worst[family][0]:9.1e}" for family in SHOWN)
              + f"  {covered['recorded']:3}/{covered['modules']:<3}  {compared:8}  " + (", ".join(absent) or "-")
              + ("   BEYOND: " + "; ".join(f"{f} at {worst[f][1]}" for f in beyond) if beyond else ""), flush=True)
        report[name] = {"worst": worst, "compared": compared, "absent": missing, "coverage": covered,
                        "seconds": round(time.time() - began, 1)}
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    beyond = [n for n, r in report.items() if any(not r["worst"][f][0] <= args.limit for f in FAMILIES)]
    print(f"{len(report) - len(beyond)} of {len(report)} within {args.limit:g}" + (f"; beyond: {', '.join(beyond)}" if beyond else ""))
    return status


if __name__ == "__main__":
    sys.exit(main())
