#!/usr/bin/env python3
"""Runs ctest in a build folder and ends with one line, "N passed, N failed, N skipped".

    scripts/run_tests.py build/release [arguments of ctest...]

Counts single GoogleTest cases. A program that crashes or never reports is one failure, and so is
a folder without tests.
"""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def count(ctest_report, case_reports):
    """(passed, failed, skipped, names of what failed)."""
    passed = failed = skipped = 0
    failures = []
    for entry in ElementTree.parse(ctest_report).getroot().iter("testcase"):
        name, status = entry.get("name"), entry.get("status")
        asked_to_skip = any("SKIP_" in e.get("message", "") for e in entry.findall("skipped"))
        broke = status not in ("run", "disabled") and not asked_to_skip
        cases_file = case_reports / f"{name}.xml"
        cases = []
        if cases_file.exists():
            try:
                cases = list(ElementTree.parse(cases_file).getroot().iter("testcase"))
            except ElementTree.ParseError:
                broke = True
        bad = [c for c in cases if c.find("failure") is not None]
        left_out = sum(c.get("result") == "skipped" for c in cases)
        left_out += sum(c.get("status") == "notrun" for c in cases)
        failures += [f"{c.get('classname')}.{c.get('name')}" for c in bad]
        failed += len(bad)
        skipped += left_out
        passed += len(cases) - len(bad) - left_out
        if broke and not bad:
            failed += 1
            failures.append(name)
        elif not cases and not broke:
            passed += status == "run"
            skipped += status != "run"
    return passed, failed, skipped, failures


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build = Path(sys.argv[1]).resolve()
    reports = build / "test-reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    ctest_report = reports / "ctest-summary"
    status = subprocess.run(
        ["ctest", "--test-dir", str(build), "--output-on-failure", "--no-tests=error",
         "-j", str(os.cpu_count() or 1), "--output-junit", str(ctest_report), *sys.argv[2:]],
        env={"UBSAN_OPTIONS": "print_stacktrace=1", **os.environ,
             "GTEST_OUTPUT": f"xml:{reports}/"},
        stdin=subprocess.DEVNULL,
    ).returncode
    if not ctest_report.exists():
        print("no tests ran\n0 passed, 1 failed, 0 skipped")
        return 1
    passed, failed, skipped, failures = count(ctest_report, reports)
    for name in failures:
        print(f"FAILED {name}")
    if status != 0 and failed == 0:
        failed = 1
        print(f"FAILED ctest, exit status {status}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
