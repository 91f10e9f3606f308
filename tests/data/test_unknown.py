"""Unknown symbols: which, how many, why, and a remedy that works."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import elman
from elman.data.corpus import read_corpus, read_part
from elman.data.unknown import reasons_unknown, unknown_sentence, unknown_summary
from elman.data.vocab import Vocab
from elman.errors import ConfigError, DataError


def corpus_of(tmp_path, text, **how):
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    return read_corpus([str(tmp_path / "text.txt")], **how)


def test_what_is_too_rare_is_told_from_what_is_new(tmp_path):
    corpus = corpus_of(tmp_path, "a b " * 50 + "rare\n" + "a new new rare b", tokens="word", held_out=5, min_count=2)
    held_out = unknown_summary(corpus.held_out, corpus.vocab)
    expected = {"tokens": 3, "different": 2, "too_rare": 1, "most_frequent": {"new": 2, "rare": 1}}
    assert held_out == expected
    assert unknown_summary(corpus.train, corpus.vocab)["too_rare"] == 2  # the line end, too
    sentence = unknown_sentence("held-out", held_out, has_unknown=True)
    assert (
        "1 is too rare in the training text (min_count = 1 in the configuration keeps them), 2 are not in it"
        in sentence
    )
    assert sentence.endswith("Unknown: 'new' 2, 'rare' 1.")


def test_the_ten_most_frequent_are_listed(tmp_path):
    corpus = corpus_of(
        tmp_path, "a " * 40 + "".join(f"{'b' * n} " * n for n in range(2, 15)), tokens="word", held_out=104
    )
    summary = unknown_summary(corpus.held_out, corpus.vocab)
    assert summary["most_frequent"] == {"b" * n: n for n in range(14, 4, -1)}
    assert "The most frequent of 13 unknown: 'bbb" in unknown_sentence("held-out", summary, has_unknown=True)


@given(st.text("abcdeé\u0301\n", min_size=1, max_size=60), st.text("abcdefé\u0301\n", min_size=1, max_size=60))
def test_the_summary_counts_what_is_not_in_the_vocabulary(tmp_path_factory, trained, scored):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "scored.txt").write_text(scored, encoding="utf-8", newline="")
    vocab = Vocab.chars(trained, min_count=max(map(trained.count, trained)))
    part = read_part([str(folder / "scored.txt")], vocab)
    summary = unknown_summary(part, vocab)
    unknown = [c for c in scored if c not in vocab.token_to_idx]
    assert summary["tokens"] == part.unknown == len(unknown)
    assert summary["different"] == len(set(unknown))
    assert summary["too_rare"] == sum(c in trained for c in unknown)
    assert sum(summary["most_frequent"].values()) == len(unknown)  # of fewer than ten different ones
    assert [part.originals.types[code] for code in part.originals.spellings] == unknown


def test_a_vocabulary_that_remembers_nothing_says_no_more_than_it_knows(tmp_path):
    old = Vocab(["a", "b"], level="word", segmentation="0.1")
    assert reasons_unknown(old, ["c"]) == "'c': not in the vocabulary"
    (tmp_path / "text.txt").write_text("a c")
    summary = unknown_summary(read_part([str(tmp_path / "text.txt")], old), old)
    assert summary["too_rare"] is None
    expected = "1 held-out token is not in the vocabulary, and scored as <unk>. Unknown: 'c' 1."
    assert unknown_sentence("held-out", summary, has_unknown=True) == expected


@pytest.mark.parametrize(
    ("tokens", "text", "prompt"),
    [
        ("word", "once a verdict fell\n" + "the old clock\n" * 99, "a verdict"),
        ("char", "Ω" + "the old clock\n" * 50, "Ω"),
    ],
)
def test_a_prompt_with_rare_symbols_is_refused_with_remedies_that_work(tmp_path, tokens, text, prompt):
    corpus = corpus_of(tmp_path, text, tokens=tokens)
    model = elman.NGram.fit(elman.TextTask.of(corpus), corpus.train.ids, order=2)
    with pytest.raises(DataError, match=r"too rare in the training text \(once\)") as caught:
        elman.generate(model, prompt, 3)
    assert "--unknown keep" in str(caught.value)
    assert "min_count = 1 in the configuration" in str(caught.value)
    assert "never seen" not in str(caught.value)
    assert "a text that has" not in str(caught.value)
    assert "".join(elman.generate(model, prompt, 3, unknown="keep"))
    kept = corpus_of(tmp_path, text, tokens=tokens, min_count=1)
    model = elman.NGram.fit(elman.TextTask.of(kept), kept.train.ids, order=2)
    assert "".join(elman.generate(model, prompt, 3))


def test_an_unseen_symbol_of_a_prompt_is_not_called_rare(tmp_path):
    corpus = corpus_of(tmp_path, "the old clock\n" * 99, tokens="word")
    model = elman.NGram.fit(elman.TextTask.of(corpus), corpus.train.ids, order=2)
    with pytest.raises(DataError, match="'zeal': not in the training text") as caught:
        elman.generate(model, "zeal", 3)
    assert "min_count" not in str(caught.value)
    with pytest.raises(ConfigError, match="'drop'"):
        elman.generate(model, "zeal", 3, unknown="drop")


def test_without_an_unknown_symbol_a_prompt_cannot_hold_one(tmp_path):
    corpus = corpus_of(tmp_path, "the old clock\n" * 99, tokens="word", unknown=False)
    model = elman.NGram.fit(elman.TextTask.of(corpus), corpus.train.ids, order=2)
    with pytest.raises(DataError, match="zeal") as caught:
        elman.generate(model, "zeal", 3, unknown="keep")
    assert "--unknown" not in str(caught.value)
