#!/usr/bin/env python3
"""Fails on every #include that scripts/layers.txt does not allow.

    scripts/check_layers.py               check this repository
    scripts/check_layers.py --self-test   plant forbidden includes in a copy and expect each found

Also fails where a header asks whether CUDA is there, and where a folder names what it must not.
"""

import argparse
import fnmatch
import os
import re
import sys
import tempfile
from pathlib import Path

SOURCES = (".h", ".hpp", ".inc", ".cpp", ".cc", ".cu", ".cuh", ".h.in", ".cpp.in")
INCLUDE = re.compile(r'^\s*#\s*(?:include|import)\s*(?:["<]([^">]+)[">]|(\S+))')
CUDA_CONDITION = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*CUDA")
COMMENT = re.compile(r"//.*|/\*.*?\*/|^\s*\*.*")
TEST_GROUPS = ("gtest", "posix")


class Table:
    """layers.txt: folders and groups a folder may include, patterns of a group, bans on names."""

    def __init__(self, path):
        self.folders, self.groups_of, self.patterns, self.bans = {}, {}, {}, []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            line = line.split("#")[0].strip()
            if not line:
                continue
            if m := re.fullmatch(r"@(\w+) = (.*)", line):
                self.patterns.setdefault(m[1], []).extend(m[2].split())
            elif m := re.fullmatch(r"!(\w+) names no (\w+)", line):
                self.bans.append((m[1], m[2]))
            elif m := re.fullmatch(r"(\w+):([\w ]*)\|([\w ]*)", line):
                self.folders[m[1]] = m[2].split()
                self.groups_of[m[1]] = m[3].split()
            else:
                sys.exit(f"{path}:{number}: not understood: {line}")
        for folder in self.folders:
            for name in self.folders[folder]:
                if name not in self.folders:
                    sys.exit(f"{path}: {folder}: no folder {name}")
            for name in self.groups_of[folder]:
                if name not in self.patterns:
                    sys.exit(f"{path}: {folder}: no group @{name}")

    def group_of(self, header):
        for group, patterns in self.patterns.items():
            if any(fnmatch.fnmatchcase(header, p) for p in patterns):
                return group
        return None


def folder_of(path):
    """The table's name for the folder of a path relative to the root, or None."""
    parts = Path(path).parts
    if parts[0] in ("src", "include") and len(parts) > 2:
        return parts[1]
    return parts[0] if parts[0] in ("tests", "bench", "examples") else None


def sources(root):
    for top in ("include", "src", "tests", "bench", "examples"):
        for directory, _, names in os.walk(root / top):
            for name in names:
                if name.endswith(SOURCES):
                    yield (Path(directory) / name).relative_to(root)


def target_folder(root, table, path, header):
    """The project folder that `header`, included by `path`, lies in; None when it is outside."""
    first = header.split("/")[0]
    if "/" in header and first in table.folders:
        return first
    beside = os.path.normpath(root / path.parent / header)
    if os.path.exists(beside):
        return folder_of(os.path.relpath(beside, root))
    return None


def check_file(root, table, path, found):
    folder = folder_of(path)
    if folder not in table.folders:
        found.append(f"{path}:1: folder {folder or path.parent} is not in scripts/layers.txt")
        return
    groups = set(table.groups_of[folder])
    if re.search(r"_(test|fuzz)\.(cpp|cc)$|_test_util\.h$|^test_.*\.h$", path.name):
        groups.update(TEST_GROUPS)
    allowed = [folder, *table.folders[folder]]
    is_header = path.name.endswith((".h", ".hpp", ".inc", ".h.in"))
    for number, line in enumerate((root / path).read_text().splitlines(), 1):
        where = f"{path}:{number}:"
        if is_header and CUDA_CONDITION.match(line):
            found.append(f"{where} a header asks for CUDA: {line.strip()}; without CUDA the kernel "
                         "lists are shorter, and no header differs")
        m = INCLUDE.match(line)
        if not m:
            continue
        header, computed = m[1], m[2]
        if computed:
            found.append(f"{where} includes {computed}: a computed include cannot be checked")
            continue
        target = target_folder(root, table, path, header)
        if target is not None:
            if target not in allowed:
                found.append(f"{where} includes {header} ({target}); {folder} may include "
                             f"{' '.join(allowed)}")
            continue
        group = table.group_of(header)
        if group not in groups:
            what = f"@{group}" if group else "in no group of scripts/layers.txt"
            found.append(f"{where} includes {header} ({what}); {folder} may include "
                         f"{' '.join('@' + g for g in sorted(groups))}")


def check_names(root, folder, other, found):
    """No code of `folder` (tests and comments aside) names a folder or source of `other`. A name of
    less than five letters counts where it is no part of a longer word: `opt` in `optional` is none."""
    names = sorted({p.stem for p in (root / "src" / other).glob("*")
                    if p.is_dir() or p.suffix == ".cpp"})
    if not names:
        return
    pattern = re.compile("|".join(
        f"(?i:{re.escape(name)})" if len(name) > 4 else rf"(?<![A-Za-z])(?i:{name})(?![a-z])"
        for name in names))
    for path in sources(root):
        if folder_of(path) != folder or path.name.endswith("_test.cpp"):
            continue
        for number, line in enumerate((root / path).read_text().splitlines(), 1):
            if m := pattern.search(COMMENT.sub("", line)):
                found.append(f"{path}:{number}: names {m[0]}; {folder} names none of {other}")


def check(root):
    table = Table(root / "scripts" / "layers.txt")
    found = []
    paths = sorted(sources(root))
    for path in paths:
        check_file(root, table, path, found)
    for folder, other in table.bans:
        check_names(root, folder, other, found)
    return len(paths), found


# What the self-test plants: (file, text, what the finding must say, or None for allowed).
PLANTED = [
    ("src/base/up.h", '#include "tensor/view.h"', "base may include base lockstep"),
    ("src/base/climb.cpp", '#include "../ops/op.h"', "(ops); base may include"),
    ("src/tensor/spaced.cpp", '  #  include <graph/graph.h>', "(graph); tensor may include"),
    ("src/parity/arch.cpp", '#include "archs/list.h"', "(archs); parity may include"),
    ("src/parity/name.cpp", 'if (type == "Toy") return;', "names Toy; parity names none of archs"),
    ("src/parity/fine.cpp", '// toy is only an example\n#include "runtime/run.h"', None),
    ("src/parity/short.cpp", "class ToyReader;", "names Toy; parity names none of archs"),
    ("src/parity/longer.cpp", "int toyed = atoy;", None),
    ("src/serve/shape.cpp", '#include "tensor/shape.h"', "(tensor); serve may include"),
    ("src/archs/toy/toy.cpp", '#include "graph/graph.h"', "archs may include archs lockstep"),
    ("src/archs/toy/third.cpp", "#include <fmt/format.h>", "(@fmt); archs may include @std"),
    ("src/archs/toy/fine.cpp", '#include <vector>\n#include "lockstep/nn.h"', None),
    ("examples/port/in.cpp", '#include "base/file.h"', "(base); examples may include"),
    ("include/lockstep/json.h", "#include <nlohmann/json.hpp>", "(@nlohmann); lockstep may"),
    ("include/lockstep/engine.h", '#include "base/file.h"', "(base); lockstep may include"),
    ("include/lockstep/posix.h", "#include <sys/mman.h>", "(@posix); lockstep may include @std"),
    ("src/graph/blas.cpp", '#include "dnnl.h"', "(@dnnl); graph may include"),
    ("src/runtime/omp.cpp", "#include <omp.h>", "(@omp); runtime may include"),
    ("src/hub/net.cpp", "#include <curl/curl.h>", "in no group"),
    ("src/hub/args.cpp", "#include <CLI/CLI.hpp>", "(@cli11); hub may include"),
    ("src/ops/not_a.cpp", "#include <gtest/gtest.h>", "(@gtest); ops may include"),
    ("src/ops/a_test.cpp", '#include <gtest/gtest.h>\n#include "ops/op.h"', None),
    ("src/ops/far_test.cpp", '#include "graph/graph.h"', "(graph); ops may include"),
    ("src/kernels/gpu.h", "#if defined(LOCKSTEP_CUDA)\n#endif", "a header asks for CUDA"),
    ("src/kernels/gpu.cpp", "#ifdef LOCKSTEP_CUDA\n#endif\n#include <hwy/highway.h>", None),
    ("src/kernels/macro.cpp", "#include LIST", "computed include"),
    ("src/strange/a.cpp", "", "folder strange is not in scripts/layers.txt"),
]


def self_test(repository):
    """Each planted file alone in a tree must give exactly its own finding, at its own line."""
    failures = 0
    for name, text, expected in PLANTED:
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            (root / "scripts").mkdir()
            (root / "scripts/layers.txt").write_text((repository / "scripts/layers.txt").read_text())
            (root / "src/archs/toy").mkdir(parents=True)
            (root / "src/ops").mkdir()
            (root / "src/ops/op.h").touch()
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("\n" + text + "\n")
            found = check(root)[1]
        line = 1 if "folder" in (expected or "") else 2
        good = not found if expected is None else (
            len(found) == 1 and expected in found[0] and found[0].startswith(f"{name}:{line}:"))
        if not good:
            failures += 1
            print(f"FAILED {name}: expected {expected or 'no finding'}, found {found}")
    print(f"check_layers self-test: {len(PLANTED) - failures} passed, {failures} failed")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    repository = Path(__file__).resolve().parent.parent
    if arguments.self_test:
        return 1 if self_test(repository) else 0
    n_files, found = check(repository)
    for line in found:
        print(line)
    print(f"check_layers: {n_files} files, {len(found)} forbidden")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
