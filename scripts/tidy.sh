#!/usr/bin/env bash
# clang-tidy on the sources changed since a commit, two at a time.
#
#   scripts/tidy.sh [BASE]     BASE: the merge base with origin/main, else 6 commits back
#
# Each file is checked as itself, headers included. After TIDY_SECONDS (default 120) no further file
# is started; how many were left out is said, and which come first changes from commit to commit.
# Compile commands come from a configuration of its own, build/tidy, without precompiled headers; the
# ports that tests complete (tests/port_kit) are no part of it.
set -euo pipefail
cd "$(dirname "$0")/.."

database=build/tidy
cmake --preset release -B "$database" -DLOCKSTEP_PRECOMPILE=OFF >/dev/null

default_base() {
  local head base
  head=$(git rev-parse HEAD)
  base=$(git merge-base HEAD origin/main 2>/dev/null) || base=$head
  [[ $base != "$head" ]] || base=$(git rev-list --first-parent --max-count=7 HEAD | tail -n 1)
  echo "$base"
}
base=${1:-$(default_base)}

mapfile -t files < <(
  { git diff --name-only --diff-filter=d "$base"; git ls-files --others --exclude-standard; } |
    grep -E '^(src|include|tests|bench)/.*\.(cpp|cc|h)$' | grep -v '^tests/port_kit/.*/' | sort -u |
    shuf --random-source=<(yes "$(git rev-parse HEAD)"))
n=${#files[@]}
echo "tidy: $n files changed since $(git rev-parse --short "$base")"
[[ $n -eq 0 ]] && exit 0

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
export results database
export deadline=$(($(date +%s) + ${TIDY_SECONDS:-120}))

check_one() {
  [[ $(date +%s) -lt $deadline ]] || { echo "$1" >>"$results/left_out"; return 0; }
  local log
  log=$(mktemp -p "$results" log.XXXXXX)
  clang-tidy --quiet -p "$database" --extra-arg=-Wno-unknown-warning-option "$1" >"$log" 2>&1 ||
    { echo "$1" >>"$results/failed"; grep -v 'warnings generated\|warnings treated' "$log" || true; }
}
export -f check_one
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P 2 bash -c 'check_one "$1"' _

lines() { if [[ -f $1 ]]; then wc -l <"$1"; else echo 0; fi; }
failed=$(lines "$results/failed") left_out=$(lines "$results/left_out")
echo "tidy: $((n - failed - left_out)) clean, $failed with findings, $left_out left out for time"
[[ $failed -eq 0 ]]
