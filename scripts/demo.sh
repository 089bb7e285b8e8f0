#!/usr/bin/env bash
# The example model computed here, compared tensor by tensor with what transformers recorded, and a
# conversation with it.
set -euo pipefail
cd "$(dirname "$0")/.."

lockstep=build/release/bin/lockstep
model=examples/storyteller

run() {
  local shown=lockstep argument
  for argument in "$@"; do
    [[ $argument == *' '* ]] && argument="\"$argument\""
    shown+=" $argument"
  done
  printf '\n$ %s\n' "$shown"
  "$lockstep" "$@"
}
run verify "$model" --reference "$model/reference"
run generate "$model" --chat "What is the capital of Italy?"
