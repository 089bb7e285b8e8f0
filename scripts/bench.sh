#!/usr/bin/env bash
# Runs every benchmark program of build/release and writes build/bench/<program>.json, then
# bench_serve.sh. Arguments go to the programs alone: scripts/bench.sh --benchmark_filter=linear
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p build/bench
shopt -s nullglob
programs=(build/release/bin/*_bench)
[[ ${#programs[@]} -gt 0 ]] || { echo "bench: no program in build/release/bin" >&2; exit 1; }
for program in "${programs[@]}"; do
  name=$(basename "$program")
  echo "bench: $name"
  "$program" --benchmark_out="build/bench/$name.json" --benchmark_out_format=json "$@"
done
[[ $# -gt 0 ]] || scripts/bench_serve.sh
echo "bench: results in build/bench/*.json"
