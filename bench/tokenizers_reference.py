"""Times of the tokenizers library for tokenizer_bench, on one thread: load, encode, decode in seconds, medians of three,
and 1 where its ids of `text` are those of the file `ids`. Run in the folder that has them and tokenizer.json."""
import array
import os
import statistics
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
try:
    from tokenizers import Tokenizer
except ImportError:
    sys.exit("tokenizers is not installed")


def median_seconds(run):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


load, tokenizer = median_seconds(lambda: Tokenizer.from_file("tokenizer.json"))
tokenizer.no_truncation()
tokenizer.no_padding()
with open("text", encoding="utf-8", newline="") as file:
    text = file.read()
# The variant without offsets, which is the fastest there is.
encode, encodings = median_seconds(lambda: tokenizer.encode_batch_fast([text], add_special_tokens=False))
ids = encodings[0].ids
decode, _ = median_seconds(lambda: tokenizer.decode(ids, skip_special_tokens=False))
with open("ids", "rb") as file:
    ours = array.array("i", file.read())
print(load, encode, decode, int(list(ours) == ids))
