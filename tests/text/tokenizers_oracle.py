"""Ids and text by the tokenizers library: tokenizers_oracle.py FOLDER < lines > lines."""
import json
import sys

from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
tokenizer.no_truncation()
tokenizer.no_padding()
for line in sys.stdin:
    request = json.loads(line)
    ids = tokenizer.encode(request["text"],
                           add_special_tokens=request.get("add_special_tokens", True)).ids
    print(json.dumps({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                      "decoded_skip_special": tokenizer.decode(ids)}))
