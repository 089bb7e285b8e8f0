#!/usr/bin/env python3
"""Does `lockstep diff` pass what is sound? Recordings of the reference are compared with other recordings of the reference.

    python3 tests/reference/false_alarms.py LOCKSTEP CPU:GPU EAGER:SDPA [--both] [--json F] [NAME ...]

Each pair names two folders that hold one recording a model (made with reference/record.py on the same prompt ids: on a CPU
and on a GPU, with eager and with sdpa attention, by two versions of transformers, ...). Models that only one of them has are
left out and counted. A verdict other than PASS is a false alarm: its taps are listed with g, f, their ratio and the bands.
Exit status: 0 every verdict is PASS; 1 some are not; 2 a comparison could not be run.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

MEASURES = ("total", "without_largest_channels", "worst_token", "worst_channel")
SHOWN = 6  # alarms printed for one model


def judged(run):
    """The taps of a run, and its logits, as (name, entry)."""
    for tap in run["taps"]:
        yield tap["tap"], tap
    if run.get("logits"):
        yield "logits", run["logits"]


def numbers(entry):
    """g/f of each measure, and the worst of them with its bands."""
    if not entry.get("f"):  # ids and masks have no floor: they are equal or they are not
        return f"relative L2 {entry.get('relative_l2')}, {entry.get('note') or 'no floor'}"
    shares = ", ".join(f"{name} {entry['g'][name]:.2e}/{entry['f'][name]:.2e}" for name in MEASURES if entry["f"].get(name) and entry["g"].get(name) is not None)
    ratio = "infinite" if entry["ratio"] is None else f"{entry['ratio']:.2f}"
    return f"g/f {ratio} of {entry['elements']} elements, bands {entry['bands']}: {shares}"


def ratio(entry):
    """g/f as a number: JSON has no infinity, and what has no floor has no ratio."""
    if entry["ratio"] is not None:
        return entry["ratio"]
    return 0.0 if entry["judgement"] in ("watch", "clean") else float("inf")


def summary(report):
    """(watched taps, diverged taps, worst ratio and where) over every run, for float32 and for what is lower apart."""
    out = {}
    for kind in ("float32", "lower"):
        runs = [r for r in report["runs"] if (r["dtype"] in ("float32", "float64")) == (kind == "float32")]
        taps = [(ratio(entry), entry["judgement"], f"{run['run']} {name}") for run in runs for name, entry in judged(run)]
        worst = max(taps, default=(0.0, "", "-"))
        out[kind] = {"taps": len(taps), "watched": sum(t[1] == "watch" for t in taps),
                     "diverged": sum(t[1] not in ("watch", "clean") for t in taps), "worst": worst[0], "at": worst[2]}
    return out


def compare(lockstep, reference, port):
    done = subprocess.run([lockstep, "diff", "--json", reference, port], capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout), None
    except ValueError:
        return None, f"exit status {done.returncode}: {done.stderr.strip() or done.stdout.strip()[:300]}"


def table(lockstep, left, right, names):
    """Prints the table of one pair of folders; {name: verdict, summary, alarms}."""
    both = sorted({p.name for p in left.iterdir() if p.is_dir()} & {p.name for p in right.iterdir() if p.is_dir()})
    both = [name for name in both if not names or name in names]
    print(f"{left.name} as the reference, {right.name} as the port: {len(both)} models")
    print(f"{'model':14}{'verdict':>11}{'taps':>7}   float32: {'watch':>5} {'worst g/f':>9}   lower: {'watch':>5} {'worst g/f':>9}  at")
    found = {}
    for name in both:
        report, error = compare(lockstep, left / name, right / name)
        if error:
            print(f"{name:14}{'NOT RUN':>11}  {error}")
            found[name] = {"verdict": "not run", "error": error}
            continue
        seen = summary(report)
        high, low = seen["float32"], seen["lower"]
        print(f"{name:14}{report['verdict']:>11}{high['taps'] + low['taps']:7}{high['watched']:17}{high['worst']:10.2f}"
              f"{low['watched']:16}{low['worst']:10.2f}  {low['at']}")
        alarms = []
        if report["verdict"] != "pass":
            alarms = [f"{f['level']} {f['code']}: {f['run']} {f['tap']}: {f['message']}" for f in report["findings"]
                      if f["level"] not in ("watch", "note")]
            alarms += [f"{run['run']} {tap} {entry['judgement']}: {numbers(entry)}" for run in report["runs"]
                       for tap, entry in judged(run) if entry["judgement"] not in ("watch", "clean")]
            for alarm in alarms[:SHOWN]:
                print(f"    {alarm}")
            if len(alarms) > SHOWN:
                print(f"    ... and {len(alarms) - SHOWN} more (--json)")
        watched = [f"{run['run']} {tap}: {numbers(entry)}" for run in report["runs"] for tap, entry in judged(run)
                   if entry["judgement"] == "watch"]
        found[name] = {"verdict": report["verdict"], "taps": seen, "alarms": alarms, "watched": watched,
                       "findings": report["findings"]}
    passed = sum(f["verdict"] == "pass" for f in found.values())
    print(f"{passed} of {len(both)} PASS" + "".join(f"; {n}: {f['verdict']}" for n, f in found.items() if f["verdict"] != "pass"))
    print()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lockstep", type=Path, help="the built binary")
    parser.add_argument("pairs", nargs="+", metavar="REF:PORT", help="two folders of recordings; names of models may follow")
    parser.add_argument("--both", action="store_true", help="each pair the other way round as well")
    parser.add_argument("--json", type=Path, help="write every verdict, alarm and watched tap to a file")
    args = parser.parse_args()
    pairs = [tuple(map(Path, pair.split(":"))) for pair in args.pairs if ":" in pair]
    names = {name for name in args.pairs if ":" not in name}
    if not pairs:
        parser.error("no pair REF:PORT was named")
    if args.both:
        pairs = [p for pair in pairs for p in (pair, pair[::-1])]
    report = {f"{a}:{b}": table(args.lockstep, a, b, names) for a, b in pairs}
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    verdicts = [f["verdict"] for found in report.values() for f in found.values()]
    print(f"{sum(v == 'pass' for v in verdicts)} of {len(verdicts)} comparisons of the reference with itself PASS")
    if not verdicts or "not run" in verdicts:
        return 2
    return 0 if all(v == "pass" for v in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
