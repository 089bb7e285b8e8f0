"""Strings that tokenizers disagree on: every script, emoji, controls, marks, white space, code."""
import random
import sys
import unicodedata

WORDS = ("the quick brown fox jumps over a lazy dog and I'm you're HE'LL we've they'd it's "
         "tokenizer streaming naïve café Straße coöperate Привет мир 你好 世界 こんにちは 안녕하세요 "
         "مرحبا שלום नमस्ते ไทย Ελληνικά ქართული հայերեն አማርኛ ಕನ್ನಡ தமிழ் বাংলা ລາວ ខ្មែរ "
         "<|endoftext|> <|im_start|> <s> </s> <unk> [CLS] <bos> ▁ Ġ <0x0A>").split()
CODE = ("def f(x):", "return x * 2", "if (a && b) {", "}", "//", "/* */", "#include <vector>",
        "std::map<int, int> m;", "for i in range(10):", "a[i] += b[j] ** 2", "\\n", "\\u00e9",
        "\"key\": [1, 2.5e-3, null]", "</div>", "SELECT * FROM t WHERE x = 'y';", "$PATH", "a->b")
SPACES = (" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", " \n", "\n ", "\u00a0", "\u2003",
          "\u3000", "\u200b", "\u2028", "\u0085", "\u180e", "\ufeff", "        ")
EMOJI = ("👋🏽", "👩‍👩‍👧‍👦", "🇫🇷🇩🇪", "❤️", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "😀", "🫠", "♻", "✌🏿")


def assigned(newest):
    """Code points of characters; of those that Python's tables know, or of every plane."""
    return [c for c in range(0x20, 0x110000)
            if not 0xd800 <= c < 0xe000 and (newest or unicodedata.category(chr(c)) != "Cn")
            and unicodedata.category(chr(c)) != "Co"]


class Strings:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.characters = assigned(False)
        blocks = {}
        for c in self.characters:
            blocks.setdefault(c >> 7, []).append(c)
        self.blocks = list(blocks.values())
        self.marks = [c for c in self.characters if unicodedata.combining(chr(c))]

    def part(self):
        r = self.random
        kind = r.randrange(12)
        if kind < 3:
            return r.choice(WORDS)
        if kind == 3:
            return r.choice(CODE)
        if kind == 4:
            return r.choice(EMOJI)
        if kind == 5:
            return str(r.randrange(10 ** r.randrange(1, 14)))
        if kind == 6:
            return "".join(chr(r.randrange(0x80)) for _ in range(r.randrange(1, 6)))
        if kind == 7:  # letters and marks
            return "".join(r.choice("aeiouAEIOUкит") + "".join(
                chr(r.choice(self.marks)) for _ in range(r.randrange(4)))
                for _ in range(r.randrange(1, 5)))
        if kind == 8:  # one script
            block = r.choice(self.blocks)
            return "".join(chr(r.choice(block)) for _ in range(r.randrange(1, 9)))
        if kind == 9:  # any
            return "".join(chr(r.choice(self.characters)) for _ in range(r.randrange(1, 5)))
        if kind == 10:
            return r.choice("!?.,;:-=#*'\"()[]{}_/\\|~^`@&%+<>…—") * r.randrange(1, 6)
        return "".join(r.choice(SPACES) for _ in range(r.randrange(1, 5)))

    def one(self):
        r = self.random
        text = ""
        for _ in range(r.randrange(1, 12)):
            text += self.part()
            if r.random() < 0.5:
                text += r.choice(SPACES) if r.random() < 0.2 else " "
        return text


def generate(n, seed=1):
    strings = Strings(seed)
    return [strings.one() for _ in range(n)]


if __name__ == "__main__":
    import json
    json.dump(generate(int(sys.argv[1])), sys.stdout)
