"""Counting n-grams: elman against a `collections.Counter` over slices, interleaved; MB/s of ASCII characters.

python benchmarks/counting.py [--rounds 5] [--order 5] [--megabytes 2]
"""

import argparse
from collections import Counter

import numpy as np
from side_by_side import against, interleave, write

from elman.data.sources.python_docs import text
from elman.data.vocab import Vocab
from elman.models.ngram.counts import Counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=2.0)
    options = parser.parse_args()
    once = "".join(text()).encode("ascii", "ignore").decode()
    # Repeats are shuffled line by line, or every n-gram would be as frequent as the first copy says.
    lines, rng, whole = once.split("\n"), np.random.default_rng(0), once
    while len(whole) < options.megabytes * 1e6:
        whole += "\n".join(lines[i] for i in rng.permutation(len(lines)))
    whole = whole[: int(options.megabytes * 1e6)]
    vocab = Vocab.chars(whole)
    ids = vocab.encode(whole)

    def counter():
        for n in range(1, options.order + 1):
            Counter(whole[i : i + n] for i in range(len(whole) - n + 1))
        return len(whole) / 1e6

    def ours():
        Counts.of(ids, len(vocab), options.order)
        return len(whole) / 1e6

    compared = against(interleave({"Counter": counter, "elman": ours}, options.rounds), "Counter")
    rate, ratio = compared["elman"]["per_second"], compared["elman"]["ratio"]
    print(
        f"orders 1 to {options.order}, {len(whole) / 1e6:g} MB: {rate['median']:.1f} MB/s, "
        f"{ratio['median']:.1f} x Counter ({ratio['low']:.1f} to {ratio['high']:.1f})"
    )
    write("counting", {"order": options.order, "megabytes": len(whole) / 1e6, "V": len(vocab)} | compared)


if __name__ == "__main__":
    main()
