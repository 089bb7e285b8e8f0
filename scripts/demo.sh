#!/usr/bin/env bash
# The example model computed here, compared tensor by tensor with what transformers recorded.
set -euo pipefail
cd "$(dirname "$0")/.."

lockstep=build/release/bin/lockstep
model=examples/storyteller
prompt=591,283,298,682,273
dump=$(mktemp -d)
trap 'rm -rf "$dump"' EXIT

run() {
  printf '\n$ lockstep %s\n' "${*//$dump/DUMP}"
  "$lockstep" "$@"
}
run dump "$model" --prompt-ids "$prompt" --dtype float32 --output "$dump/port"
run diff "$model/golden" "$dump/port"
run generate "$model" --prompt-ids "$prompt" --max-tokens 40
