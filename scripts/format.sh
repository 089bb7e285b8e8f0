#!/usr/bin/env bash
# clang-format on the tracked sources: in place, or with --check only a report and exit status 1.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=(-i)
[[ ${1:-} == --check ]] && mode=(--dry-run -Werror)
mapfile -t files < <(git ls-files --deduplicate -- '*.h' '*.cpp' '*.cc' '*.cu' '*.cuh' |
  while read -r file; do [[ -f $file ]] && echo "$file"; done)
[[ ${#files[@]} -eq 0 ]] && exit 0
clang-format "${mode[@]}" "${files[@]}"
echo "format: ${#files[@]} files"
