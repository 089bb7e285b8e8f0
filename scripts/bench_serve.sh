#!/usr/bin/env bash
# Load on `lockstep serve` and on llama-server in one run, round by round in turn: the same weights,
# prompts, streams and threads. Prints what `lockstep bench serve` prints, ratios included, and the
# processor time each server took. First it is seen that both give the same greedy text.
#   scripts/bench_serve.sh [FOLDER [FILE.gguf]]
# Without arguments: examples/storyteller, and a made-up checkpoint of Qwen3-0.6B's shape; 3 GB in
# build/bench.
# STREAMS=32 OUTPUT_TOKENS=96 PROMPT_TOKENS=8 ROUNDS=5 THREADS=2 are the defaults.
# LOCKSTEP_LLAMA_SERVER is a command that runs llama-server in this folder, LOCKSTEP_PEER_PYTHON one
# that runs a Python with the gguf package; FILE.gguf must lie where that llama-server sees it.
set -euo pipefail
cd "$(dirname "$0")/.."

read -ra llama <<<"${LOCKSTEP_LLAMA_SERVER:-llama-server}"
read -ra python <<<"${LOCKSTEP_PEER_PYTHON:-python3}"
streams=${STREAMS:-32} tokens=${OUTPUT_TOKENS:-96} prompt=${PROMPT_TOKENS:-8}
lockstep=${LOCKSTEP_BINARY:-build/release/bin/lockstep}
out=build/bench
mkdir -p "$out"

skip() {
  echo "bench_serve: skipped: $1"
  exit 0
}
command -v "${llama[0]}" >/dev/null ||
  skip "no llama-server; LOCKSTEP_LLAMA_SERVER says how to run one"
[[ -x $lockstep ]] || { echo "bench_serve: $lockstep is not built" >&2; exit 1; }
if [[ $# -eq 0 ]]; then
  scripts/bench_serve.sh examples/storyteller
  made_up=$out/qwen3-0.6b
  [[ -e $made_up/model.safetensors ]] || "${python[@]}" bench/make_checkpoint.py "$made_up" ||
    skip "the made-up checkpoint needs numpy"
  OUTPUT_TOKENS=${OUTPUT_TOKENS:-24} exec scripts/bench_serve.sh "$made_up"
fi
model=$1 gguf=${2:-}
if [[ -z $gguf ]]; then
  gguf=$out/$(basename "$model").gguf
  [[ $gguf -nt $model/model.safetensors ]] ||
    "${python[@]}" bench/to_gguf.py "$model" "$gguf" 2>"$out/to_gguf.log" ||
    skip "no GGUF of $model: $(tail -1 "$out/to_gguf.log")"
fi

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
# Room for the first request of `bench serve` too, whose prompt has 64 tokens.
length=$((prompt + tokens > 80 ? prompt + tokens : 80))
"$lockstep" serve --model "$model" --host 127.0.0.1 --port 0 --threads "${THREADS:-2}" \
  --max-batch-size "$streams" --max-length "$length" >"$out/lockstep.log" 2>&1 &
ours=$!
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${llama[@]}" -m "$gguf" --host 127.0.0.1 --port "$port" -t "${THREADS:-2}" -np "$streams" \
  -c $((streams * (length > 256 ? length : 256))) >"$out/llama-server.log" 2>&1 &
theirs=$!
b=http://127.0.0.1:$port
until a=$(grep -o 'http://[0-9.:]*' "$out/lockstep.log") && curl -sf "$b/health" >/dev/null; do
  kill -0 "$ours" || { cat "$out/lockstep.log" >&2; exit 1; }
  kill -0 "$theirs" || { cat "$out/llama-server.log" >&2; exit 1; }
  sleep 0.2
done

# Greedy text up to the first end; bfloat16 may decide ties otherwise, so not all of it need be equal.
text() {
  curl -sf "$1/v1/completions" -H 'content-type: application/json' \
    -d '{"prompt": '"$2"', "max_tokens": 6, "temperature": 0}' |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["choices"][0]["text"].strip())'
}
same=0 empty=0
for ids in '[591,283,298]' '[300,400,500]' '[601,279,320]' '[692,273,818]'; do
  x=$(text "$a" "$ids") y=$(text "$b" "$ids")
  if [[ $x == "$y" ]]; then same=$((same + 1)); fi
  if [[ -z $x ]]; then empty=$((empty + 1)); fi
done
if [[ -e $model/tokenizer.json ]]; then
  [[ $same -gt $empty ]] ||
    { echo "bench_serve: no prompt gets the same text from both: are these the same weights?" >&2; exit 1; }
  echo "same greedy text for $same of 4 prompts"
  prompts=$model
else
  prompts=examples/storyteller  # ids that any larger vocabulary has
fi

seconds() { awk '{print ($14 + $15) / '"$(getconf CLK_TCK)"'}' "/proc/$1/stat"; }
before=("$(seconds $ours)" "$(seconds $theirs)")
"$lockstep" bench serve --base-url "$a" --compare-url "$b" --concurrency "$streams" \
  --requests "$streams" --rounds "${ROUNDS:-5}" --prompt-model "$prompts" --prompt-tokens "$prompt" \
  --output-tokens "$tokens" --timeout 3000 --json-out "$out/serve_$(basename "$model").json"
after=("$(seconds $ours)" "$(seconds $theirs)")
awk -v a0="${before[0]}" -v a1="${after[0]}" -v b0="${before[1]}" -v b1="${after[1]}" \
  'BEGIN {printf "processor time: A %.2f s, B %.2f s, %.2f times\n", a1 - a0, b1 - b0, (b1 - b0) / (a1 - a0)}'
