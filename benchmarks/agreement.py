"""Whether `evaluate` and `compress` agree: the bits of 12 texts, four scripts at three levels.

python benchmarks/agreement.py [--characters 200000]

The texts are the Python language reference, and the same in other scripts: letters replaced by those of Devanagari or
by accented ones, and every frequent word by a Chinese character, so that all have the statistics of a language. An
n-gram is counted on the first nine tenths and scores the last tenth, which holds symbols that it does not know.
"""

import argparse
import math
import re
from collections import Counter
from typing import Any

from side_by_side import write

from elman import NGram, TextTask, compress, evaluate
from elman.data.corpus import Split, numbered, split
from elman.data.originals import Originals
from elman.data.sources.python_docs import text
from elman.data.tokens import LEVELS, Level, TokenSequence
from elman.data.vocab import Vocab
from elman.inference.compressors import compressed_sizes

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DEVANAGARI = "कखगघचछजझटठडढणतथदधनपफबभमयरल"
ACCENTED = "äbçdéfğhîjklmñöpqřšťüvwxýž"
FIRST_HAN = 0x4E00


def texts(characters: int) -> dict[str, str]:
    """The same text in four scripts."""
    english = "".join(text())[:characters]
    ranks = {word: i for i, (word, _) in enumerate(Counter(re.findall(r"\w+", english.lower())).most_common(5000))}
    han = re.sub(r" ?(\w+)", lambda m: chr(FIRST_HAN + ranks.get(m[1].lower(), hash_of(m[1]))), english)
    return {
        "English": english,
        "Devanagari": english.lower().translate(str.maketrans(LETTERS, DEVANAGARI)),
        "accented": english.translate(str.maketrans(LETTERS + LETTERS.upper(), ACCENTED + ACCENTED.upper())),
        "Chinese": han,
    }


def hash_of(word: str) -> int:
    """A character for a rare word, the same in every run."""
    return 5000 + sum(map(ord, word)) % 5000


def row(script: str, level: Level, written: str) -> dict[str, Any]:
    """One text at one level."""
    tokens = TokenSequence.read([written], level)
    train, held_out = split(tokens, 0.9)
    vocab = Vocab.from_tokens(train, min_count=None)
    model = NGram.fit(TextTask(vocab), vocab.encode(train))
    part = part_of(held_out, vocab)
    data = part.text_bytes(vocab)
    score, made = evaluate(model, part), compress(model, data, details=True)
    body = 8 * (len(made.data) - made.header)
    bits = score.bits_per_byte * len(data)
    return {
        "script": script,
        "level": level,
        "V": len(vocab),
        "bytes": len(data),
        "unknown": part.unknown / len(part.ids),
        "evaluate": score.bits_per_character,
        "tokens_alone": score.nats / math.log(2) / score.characters,
        "compress": body / score.characters,
        "difference": body / bits - 1,
        "body_bytes": body // 8,
        "xz_bytes": compressed_sizes(data, names=["xz"])["xz"],
    }


def part_of(tokens: TokenSequence, vocab: Vocab) -> Split:
    return numbered("held-out", vocab.encode(tokens), Originals.of(tokens, vocab), vocab)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--characters", type=int, default=200_000)
    options = parser.parse_args()
    rows = []
    for script, written in texts(options.characters).items():
        for level in LEVELS:
            found = row(script, level, written)
            rows.append(found)
            print(
                f"{script:<11}{level:<6}unknown {found['unknown']:6.2%}  evaluate {found['evaluate']:.4f}  "
                f"compress {found['compress']:.4f} bits/char  {found['difference']:+.3%}"
            )
    write("agreement", rows)


if __name__ == "__main__":
    main()
