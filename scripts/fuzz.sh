#!/usr/bin/env bash
# Runs every fuzz target of build/asan, four at a time, on the corpus in tests/corpus.
#
#   scripts/fuzz.sh [SECONDS] [--keep]
#
# SECONDS (default 60) is for each target. New inputs go to build/fuzz/<target>; with --keep those
# that reach new code are added to tests/corpus. Exit status 1 when a target crashed, ran out of
# time or memory, or when there is no target at all.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60 keep=
for argument in "$@"; do
  case $argument in
    --keep) keep=yes ;;
    *[!0-9]* | '') echo "usage: scripts/fuzz.sh [SECONDS] [--keep]" >&2; exit 2 ;;
    *) seconds=$argument ;;
  esac
done

shopt -s nullglob
targets=(build/asan/bin/*_fuzz)
[[ ${#targets[@]} -gt 0 ]] || {
  echo "fuzz: no target in build/asan/bin; build the asan preset first" >&2
  exit 1
}

fuzz_one() {
  local target name corpus work
  target=$(realpath "$1") seconds=$2 keep=$3
  name=$(basename "$target" _fuzz)
  corpus=$PWD/tests/corpus/$name work=$PWD/build/fuzz/$name
  mkdir -p "$work/found" ${keep:+"$corpus"}
  # The first folder receives new inputs, the second is only read.
  local inputs=("$work/found")
  [[ ! -d $corpus ]] || inputs+=("$corpus")
  if ! "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$work/" "${inputs[@]}" >"$work/log" 2>&1; then
    tail -n 40 "$work/log"
    echo "fuzz: $name FAILED; log and input in build/fuzz/$name; again: $1 <input>"
    return 1
  fi
  [[ -z $keep ]] || "$target" -merge=1 "$corpus" "$work/found" >>"$work/log" 2>&1
  echo "fuzz: $name $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log") runs," \
    "$(find "$corpus" -type f 2>/dev/null | wc -l) inputs in tests/corpus, no finding"
}
export -f fuzz_one
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
echo "fuzz: ${#targets[@]} targets, $seconds s each"
printf '%s\0' "${targets[@]}" |
  xargs -0 -I {} -P 4 bash -c 'set -euo pipefail; fuzz_one "$@"' _ {} "$seconds" "$keep" || exit 1
