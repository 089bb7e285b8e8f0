#!/usr/bin/env bash
# The example model computed here, compared tensor by tensor with what transformers recorded.
set -euo pipefail
cd "$(dirname "$0")/.."

lockstep=build/release/bin/lockstep
model=examples/storyteller
prompt=591,283,298,682,273

run() {
  printf '\n$ lockstep %s\n' "$*"
  "$lockstep" "$@"
}
run verify "$model" --reference "$model/reference"
run generate "$model" --prompt-ids "$prompt" --max-tokens 40
