"""Writes tests/fixtures/tokenizers/stages.json: small tokenizers, one for every stage and option, and what the
tokenizers library makes of some texts with them. Needs tokenizers.

    python3 tests/text/record_stages.py > tests/fixtures/tokenizers/stages.json
"""
import json

import tokenizers

TEXTS = ["Hello  world", " don't STOP\tme\n", "x=12+345; // ½²", "naïve café e\u0301\u0323 ﬁ Å", "你好，世界 ab中c",
         "I'M a-b_c... ", "<s>  <t> </s>tt <T>", "\r\n\n a\u00a0b\u3000\u200bc\u2028", "Straße İ ΣΑΣ", "👋🏽 é한국",
         "\x00\x07del\x7f\ufffd\ufeff", "aXbbXXc", "カタカナ ひらがな 漢字ー ok"]


def byte_vocabulary():
    bytes_ = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    characters = bytes_[:]
    for byte in range(256):
        if byte not in bytes_:
            bytes_.append(byte)
            characters.append(256 + len(characters) - 188)
    return {chr(c): b for b, c in zip(bytes_, characters)}


def byte_level(prefix=False, regex=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def bpe(vocab, merges=(), **options):
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": vocab, "merges": list(merges)}
    model.update(options)
    return model


def token(id, content, **flags):
    entry = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
    entry.update(flags)
    return entry


BYTES = bpe(byte_vocabulary())


def tokenizer(normalizer=None, pre_tokenizer=None, model=None, post_processor=None, decoder=None, added=()):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": list(added),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor,
            "decoder": decoder, "model": model}


def marked(**parts):
    """Every piece begins with a space, so that the ids, which are bytes, show what the pieces were."""
    before = [parts.pop("pre_tokenizer")] if "pre_tokenizer" in parts else []
    steps = {"type": "Sequence", "pretokenizers": before + [byte_level(prefix=True)]}
    return tokenizer(pre_tokenizer=steps, model=BYTES, decoder=byte_level(), **parts)


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def normalizer_cases():
    for name in "NFC NFD NFKC NFKD Lowercase StripAccents Nmt ByteLevel".split():
        yield name, {"type": name}
    for left in (True, False):
        yield f"Strip{left}", {"type": "Strip", "strip_left": left, "strip_right": True}
    for accents in (None, True, False):
        for flag in (True, False):
            yield f"Bert{accents}{flag}", {"type": "BertNormalizer", "clean_text": flag, "lowercase": flag,
                                           "handle_chinese_chars": flag, "strip_accents": accents}
    yield "ReplaceString", {"type": "Replace", "pattern": {"String": "b"}, "content": "xyz"}
    yield "ReplaceRegex", {"type": "Replace", "pattern": {"Regex": "\\s+|[aeiou]{2}"}, "content": "_"}
    yield "Prepend", {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}


BEHAVIORS = "Removed Isolated MergedWithPrevious MergedWithNext Contiguous".split()
PATTERNS = ["\\w+", "\\W", "\\s", "\\S+", "\\d", "\\D+", "\\h+", "\\b", "\\p{L}+", "\\P{L}+", "\\p{^N}+", "\\p{Lu}",
            "\\p{Han}+", "\\p{Hiragana}", "[[:punct:]]", "[[:alpha:]]+", " ?[^(\\s|[.,!?…。，、।۔،])]+",
            "[\\p{L}&&[^\\p{Han}a-m]]+", "[^\\p{L}[^a-z0-9]]+", "(?i:'s|'t|'m|k)", "a(?i)b|c", "\\p{N}{1,2}+", "b+?X??",
            "\\s+$", "^\\s*", ".", "(?m:.)+", "(?<=[a-z])(?=[A-Z])", "X*", "b{2}?", "(?:X){,2}b", "\\x41|\\x{4e2d}",
            "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
            "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"]


def pre_tokenizer_cases():
    for name in "Whitespace WhitespaceSplit BertPreTokenizer UnicodeScripts".split():
        yield name, {"type": name}
    for each in (True, False):
        yield f"Digits{each}", {"type": "Digits", "individual_digits": each}
        yield f"ByteLevel{each}", byte_level(prefix=each, regex=True)
    yield "FixedLength", {"type": "FixedLength", "length": 3}
    yield "CharDelimiterSplit", {"type": "CharDelimiterSplit", "delimiter": "X"}
    for behavior in BEHAVIORS:
        yield f"Punctuation{behavior}", {"type": "Punctuation", "behavior": behavior}
        for invert in (True, False):
            yield f"SplitString{behavior}{invert}", split({"String": "X"}, behavior, invert)
            yield f"SplitRegex{behavior}{invert}", split({"Regex": "\\s|\\p{N}"}, behavior, invert)
    for scheme in ("always", "first", "never"):
        for cut in (True, False):
            yield f"Metaspace{scheme}{cut}", {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme,
                                              "split": cut}
    for pattern in PATTERNS:
        yield f"Regex {pattern}", split({"Regex": pattern})


def added_cases():
    tokens = [token(256, "<s>"), token(257, "</s>"), token(258, "tt"), token(259, "<t>")]
    post = {"type": "TemplateProcessing", "pair": [], "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "end", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [256], "tokens": ["<s>"]},
                           "end": {"id": "end", "ids": [257, 258], "tokens": ["</s>", "tt"]}}}
    yield "template", dict(added=tokens, post_processor=post)
    yield "bert", dict(added=tokens, post_processor={"type": "BertProcessing", "sep": ["</s>", 257], "cls": ["<s>", 256]})
    roberta = {"type": "RobertaProcessing", "sep": ["</s>", 257], "cls": ["<s>", 256], "trim_offsets": True,
               "add_prefix_space": True}
    yield "roberta", dict(added=tokens, post_processor={"type": "Sequence", "processors": [byte_level(), roberta]})
    for flag in ("lstrip", "rstrip", "single_word", "normalized"):
        flagged = [dict(t, **{flag: True, "special": i % 2 == 0}) for i, t in enumerate(tokens)]
        yield flag, dict(added=flagged, normalizer={"type": "Lowercase"})


def model_cases():
    pre = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    letters = {c: i for i, c in enumerate("<unk> ▁ a b c d e h l o r w t s".split())}
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("▁", "w"), ("o", "r"), ("b", "b"), ("bb", "b"),
              ("▁", "hello"), ("a", "b")]
    for pair in merges:
        letters.setdefault("".join(pair), len(letters))
    pairs = [list(pair) for pair in merges]
    older = [" ".join(pair) for pair in merges]
    lower = {"type": "Lowercase"}
    fallback = dict(letters, **{f"<0x{b:02X}>": len(letters) + b for b in range(256)})
    for fuse in (True, False):
        yield f"BPE unk {fuse}", dict(model=bpe(letters, older, unk_token="<unk>", fuse_unk=fuse),
                                      pre_tokenizer=pre, normalizer=lower)
    yield "BPE drops", dict(model=bpe(letters, pairs), pre_tokenizer=pre, normalizer=lower)
    yield "BPE bytes", dict(model=bpe(fallback, pairs, unk_token="<unk>", byte_fallback=True), pre_tokenizer=pre,
                            decoder={"type": "Sequence", "decoders": [
                                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                {"type": "ByteFallback"}, {"type": "Fuse"},
                                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})
    some = {k: v for k, v in fallback.items() if k not in ("<0xE4>", "<0xC3>")}
    yield "BPE some bytes", dict(model=bpe(some, pairs, unk_token="<unk>", byte_fallback=True, fuse_unk=True),
                                 pre_tokenizer=pre, decoder={"type": "ByteFallback"})
    yield "BPE whole", dict(model=bpe(dict(letters, zzz=100, world=101), pairs, ignore_merges=True),
                            pre_tokenizer={"type": "Whitespace"}, normalizer=lower)
    suffixed = dict(letters, **{c + "</w>": 200 + i for i, c in enumerate("abcdehlorwts")}, **{"lo</w>": 300})
    yield "BPE suffix", dict(model=bpe(suffixed, [["l", "o</w>"]], unk_token="<unk>", end_of_word_suffix="</w>"),
                             pre_tokenizer={"type": "Whitespace"}, normalizer=lower,
                             decoder={"type": "BPEDecoder", "suffix": "</w>"})
    prefixed = dict(letters, **{"##" + c: 200 + i for i, c in enumerate("abcdehlorwts")}, **{"hel": 301})
    yield "BPE prefix", dict(model=bpe(prefixed, [["h", "##e"], ["he", "##l"]], unk_token="<unk>",
                                       continuing_subword_prefix="##"),
                             pre_tokenizer={"type": "Whitespace"}, normalizer=lower,
                             decoder={"type": "WordPiece", "prefix": "##", "cleanup": True})
    scores = [["<unk>", 0.0], ["▁", -2.0], ["▁he", -3.0], ["ll", -3.5], ["llo", -4.0], ["o", -2.5], ["w", -3.0],
              ["or", -3.1], ["world", -9.5], ["l", -2.9], ["d", -2.8], ["h", -4.5], ["e", -2.2], ["a", -2.0], ["b", -4.0],
              ["ab", -6.5], ["bb", -7.9]]
    for name, extra in (("", []), (" bytes", [[f"<0x{b:02X}>", -20.0] for b in range(256)])):
        yield "Unigram" + name, dict(
            model={"type": "Unigram", "unk_id": 0, "vocab": scores + extra, "byte_fallback": bool(extra)},
            pre_tokenizer=meta, normalizer=lower, decoder=meta)
    words = {w: i for i, w in enumerate("[UNK] hello hell ##o world a ##b ##bb x don ' stop me ##me m 你 中".split())}
    yield "WordPiece", dict(model={"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                                   "max_input_chars_per_word": 6, "vocab": words},
                            pre_tokenizer={"type": "BertPreTokenizer"}, normalizer=lower,
                            decoder={"type": "WordPiece", "prefix": "##", "cleanup": True})
    yield "WordLevel", dict(model={"type": "WordLevel", "unk_token": "[UNK]", "vocab": words},
                            pre_tokenizer={"type": "Whitespace"}, normalizer=lower)


def decoder_cases():
    """Decoders are shown by decoding ids, in `decode`."""
    tokens = ["▁Hello", "▁", "wor", "##ld", " n't", "do not", ".", " ,", "<0xE4>", "<0xBD>", "<0xA0>", "<0xFF>", "a</w>",
              "|", "<pad>", "é", "Ġx", "Ã", "©", "Ã©", "ĠĊ", "  b  ", "</w>", "你"]
    model = {"type": "WordLevel", "unk_token": "é", "vocab": {t: i for i, t in enumerate(tokens)}}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 1}
    replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    for name, decoder in [
            ("none", None), ("ByteLevel", byte_level()), ("ByteFallback", {"type": "ByteFallback"}),
            ("Metaspace", {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}),
            ("Metaspace never", {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True}),
            ("Fuse", {"type": "Fuse"}), ("Replace", replace),
            ("ReplaceRegex", {"type": "Replace", "pattern": {"Regex": "[a-o]+"}, "content": "<>"}),
            ("WordPiece", {"type": "WordPiece", "prefix": "##", "cleanup": True}),
            ("WordPiece plain", {"type": "WordPiece", "prefix": "##", "cleanup": False}),
            ("BPEDecoder", {"type": "BPEDecoder", "suffix": "</w>"}),
            ("CTC", {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True}),
            ("Llama", {"type": "Sequence", "decoders": [replace, {"type": "ByteFallback"}, {"type": "Fuse"},
                                                        dict(strip, stop=0)]}),
            ("Fused", {"type": "Sequence", "decoders": [{"type": "Fuse"}, replace, strip]})]:
        yield name, tokenizer(model=model, decoder=decoder), len(tokens)


def record():
    import random
    cases = []
    for kind, pairs in (("normalizer", normalizer_cases()), ("pre_tokenizer", pre_tokenizer_cases())):
        cases += [(f"{kind}: {name}", marked(**{kind: part})) for name, part in pairs]
    cases += [(f"added: {name}", marked(**parts)) for name, parts in added_cases()]
    cases += [(f"model: {name}", tokenizer(**parts)) for name, parts in model_cases()]
    rows = []
    for name, document in cases:
        made = tokenizers.Tokenizer.from_str(json.dumps(document))
        results = []
        for text in TEXTS:
            try:
                ids = made.encode(text).ids
            except BaseException:  # a panic of the library
                continue
            results.append({"text": text, "ids": ids, "decoded": made.decode(ids, skip_special_tokens=False),
                            "decoded_skip_special": made.decode(ids)})
        if document["model"] is BYTES:
            document = dict(document, model="bytes")
        rows.append({"name": name, "tokenizer": document, "rows": results})
    choose = random.Random(3)
    for name, document, n in decoder_cases():
        made = tokenizers.Tokenizer.from_str(json.dumps(document))
        lists = [[i] for i in range(n)] + [[choose.randrange(n) for _ in range(8)] for _ in range(12)]
        results = []
        for ids in lists:
            try:
                results.append({"ids": ids, "decoded": made.decode(ids, skip_special_tokens=False)})
            except BaseException:
                continue
        rows.append({"name": f"decoder: {name}", "tokenizer": document, "decode": results})
    return {"made_with": f"tokenizers {tokenizers.__version__}", "bytes": BYTES, "cases": rows}


if __name__ == "__main__":
    print(json.dumps(record(), ensure_ascii=False, separators=(",", ":")))
