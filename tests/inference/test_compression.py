"""Compression: every byte comes back, what it costs is what the model promised, and what cannot be read is refused."""

import codecs
import hashlib
import math
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from command import ENGLISH, SCRIPTS
from helpers import shaken
from hypothesis import given, settings
from hypothesis import strategies as st

import elman
from elman.data.tokens import TokenSequence
from elman.engines.native_experts import is_compiled
from elman.errors import ConfigError, DataError, ModelError
from elman.inference import compression as coding
from elman.inference.container import MAGIC, PLATFORM, Container
from elman.inference.lossless import LosslessTokens, token_bytes, unknown_id
from elman.models.base import SequenceModel
from elman.models.ngram import expert_sets

pytest.importorskip("constriction", reason='needs the "compress" extra')

TEXT = ENGLISH[:1500]
ODD = "\ufeffThe  old\tclock…\r\n\0 naïve <unk> 時間 e\u0301\u2028 \u3000 12_3's\n\n"
VOCABS: dict[str, Callable[[], elman.Vocab]] = {
    "char": lambda: elman.Vocab.chars(TEXT),
    "char-rare": lambda: elman.Vocab.chars(TEXT, min_count=40),
    "char-closed": lambda: elman.Vocab.chars(TEXT, unknown=False),
    "one-symbol": lambda: elman.Vocab.chars("e", unknown=False),
    "word": lambda: elman.Vocab.words(TEXT),
    "word-0.1": lambda: elman.Vocab(TokenSequence.read([TEXT], "word").tokens(), segmentation="0.1"),
    "word-closed": lambda: elman.Vocab.words(TEXT, unknown=False),
    "byte": elman.Vocab.bytes,
}


@cache
def ngram(vocab: str = "char", *, reverse: bool = False, clean: str = "none", **how: object) -> elman.NGram:
    task = elman.TextTask(VOCABS[vocab](), clean, reverse=reverse)
    known = [t for t in TokenSequence.read([TEXT], task.vocab.level).tokens() if t in task.vocab.token_to_idx]
    ids = task.vocab.encode(known or ["e"] * 9) if task.vocab.level != "byte" else task.vocab.encode(TEXT)
    return elman.NGram.fit(task, task.reading_order(ids).copy(), **{"order": 3} | how)  # type: ignore[arg-type]


@cache
def gru(vocab: str = "char", *, reverse: bool = False, **how: object) -> elman.Recurrent:
    task = elman.TextTask(VOCABS[vocab](), reverse=reverse)
    return shaken(elman.Recurrent(task, cell="gru", hidden=9, **how))


@cache
def mlp() -> elman.MLP:
    return shaken(elman.MLP(elman.TextTask(VOCABS["char"]()), hidden=9, context=3))


MODELS: dict[str, Callable[[], SequenceModel]] = {
    **{f"3-gram {v}": lambda v=v: ngram(v) for v in VOCABS},
    **{f"3-gram {v} reversed": lambda v=v: ngram(v, reverse=True) for v in ("char-closed", "word", "byte")},
    **{f"gru {v}": lambda v=v: gru(v) for v in ("char", "char-closed", "word", "byte")},
    "gru word reversed": lambda: gru("word", reverse=True),
    "lstm, two layers": lambda: gru(layers=2, embedding=4, learn_initial_state=True),
    "mlp": mlp,
    "mixture": lambda: elman.Mixture([gru(), mlp(), ngram()], [0.3, 0.0, 0.7]),
    "probabilities of 0": lambda: ngram(smoothing="laplace", eps=0.0),
}
ANYTHING = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda t: t.encode()),
    st.text("She oldck\n .,\r\t\ufeffé", max_size=60).map(lambda t: t.encode()),
    st.text("She'\u2019 3.,:_\n\u200c\u200d\u00ad\u0301\u0915\u094d👩🏽🇩時", max_size=60).map(lambda t: t.encode()),
    st.lists(st.sampled_from([b"She ", b"old", b"  ", b"\n", b"clock.", b"\xff", b"\xc3", b"\xa9"])).map(b"".join),
)


def through(model: SequenceModel, data: bytes, streams: int = 1) -> tuple[bytes, dict[str, float], bytes]:
    """The body, what its bits went to, and what is read of it; coded however long that is."""
    text = LosslessTokens.encode(data, model.task.vocab, model.task.normalize)
    body, bits = coding.encode_body(model, text, streams)
    found = coding.decode_body(model, body, len(text.ids), streams, len(data), marked=text.marked)
    return body, bits, found.decode(token_bytes(model.task.vocab))


# --- a file as tokens


@pytest.mark.parametrize("vocab", VOCABS)
@given(data=ANYTHING)
def test_tokens_spelling_and_gaps_are_the_file(vocab: str, data: bytes) -> None:
    made = VOCABS[vocab]()
    assert LosslessTokens.encode(data, made).decode(token_bytes(made)) == data


@pytest.mark.parametrize("vocab", ["char", "char-rare", "word"])
@given(text=st.text(max_size=60))
def test_the_tokens_are_those_that_a_score_is_of(vocab: str, text: str) -> None:
    made = VOCABS[vocab]()
    assert LosslessTokens.encode(text.encode(), made).ids.tolist() == made.encode(text).tolist()


def test_what_is_spelt_is_what_the_vocabulary_lacks() -> None:
    encode = LosslessTokens.encode(b"She\xffX" + "é".encode(), VOCABS["char"]())
    assert encode.escapes == {3: b"\xff", 4: b"X", 5: "é".encode()}
    assert [unknown_id(VOCABS[v]()) for v in ("char", "char-closed", "byte")] == [0, -1, 256]


# --- what was written is read


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=5)
@given(data=ANYTHING, streams=st.sampled_from([1, 2, 3, 7]))
def test_any_bytes_come_back(name: str, data: bytes, streams: int) -> None:
    model = MODELS[name]()
    assert through(model, data, streams)[2] == data
    assert elman.decompress(model, elman.compress(model, data)) == data


@pytest.mark.parametrize(
    ("name", "script"), [*((n, "odd") for n in MODELS), *((n, s) for n in ("3-gram word", "gru byte") for s in SCRIPTS)]
)
def test_texts_come_back(name: str, script: str) -> None:
    data = (SCRIPTS[script][:400] if script in SCRIPTS else ODD * 3).encode()
    for streams in (1, 5):
        assert through(MODELS[name](), data, streams)[2] == data


def test_large_files_are_cut_into_streams_and_told_of() -> None:
    data = (ENGLISH * 5).encode()[: 3 * coding.STREAM_TOKENS + 3]
    heard: list[tuple[int, int]] = []
    made = elman.compress(ngram(), data, details=True, on_progress=lambda done, of: heard.append((done, of)))
    assert made.streams == 3
    assert elman.decompress(ngram(), made.data) == data
    assert heard[-1] == (len(data), len(data))
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})


def test_the_old_name_gives_the_details_and_warns() -> None:
    heard: list[tuple[int, int]] = []
    with pytest.warns(DeprecationWarning, match=r"use elman\.compress\(\.\.\., details=True\)"):
        made = elman.compressed(ngram(), b"abc" * 50, lambda done, of: heard.append((done, of)))
    assert made == elman.compress(ngram(), b"abc" * 50, details=True)
    assert made.data == elman.compress(ngram(), b"abc" * 50)
    assert heard[-1] == (150, 150)


def test_what_coding_would_lengthen_is_stored() -> None:
    noise = np.random.default_rng(0).bytes(500)
    for data in (b"", b"x", noise):
        made = elman.compress(ngram(), data, details=True)
        assert made.streams == 0
        assert len(made.data) - made.header == len(data)
        assert made.header < 150
        assert elman.decompress(ngram(), made.data) == data


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_no_bit_and_stays(threads: int) -> None:
    model = shaken(elman.Recurrent(elman.TextTask(VOCABS["char"]()), cell="gru", hidden=300))
    data = (ENGLISH * 2).encode()[: 2 * coding.STREAM_TOKENS]
    torch.set_num_threads(1)
    one = (
        elman.compress(model, data[:1000]),
        coding.encode_body(model, LosslessTokens.encode(data[:2000], model.task.vocab), 7),
    )
    torch.set_num_threads(threads)
    assert one == (
        elman.compress(model, data[:1000]),
        coding.encode_body(model, LosslessTokens.encode(data[:2000], model.task.vocab), 7),
    )
    assert torch.get_num_threads() == threads


# --- what it costs


def ideal(model: SequenceModel, text: str) -> float:
    """Bits of a text by scoring it, which steps through nothing."""
    return elman.evaluate(model, text, streams=1).nats / math.log(2)


@pytest.mark.parametrize("name", ["3-gram char", "3-gram byte", "gru char", "mlp", "mixture"])
def test_the_body_has_the_bits_that_a_score_reports(name: str) -> None:
    model, text = MODELS[name](), TEXT
    body, bits, _ = through(model, text.encode())
    assert bits["other"] == 0
    assert bits["model"] == pytest.approx(ideal(model, text), rel=1e-5)
    assert 0.999 * ideal(model, text) <= 8 * len(body) <= 1.001 * ideal(model, text) + 64


def test_a_trained_network_compresses_unseen_text_to_what_it_promises() -> None:
    vocab = elman.Vocab.chars(ENGLISH)
    train, held_out = elman.split(vocab.encode(ENGLISH), 0.7)
    model = elman.fit(
        elman.Recurrent(elman.TextTask(vocab), cell="gru", hidden=32), train, epochs=8, batch=4, window=32
    )
    text = vocab.decode(held_out) * 4
    made = elman.compress(model, text.encode(), details=True)
    bits = ideal(model, text)
    assert 8 * (len(made.data) - made.header) == pytest.approx(bits, rel=5e-3)
    assert made.model_bits == pytest.approx(bits, rel=1e-5)
    assert made.coding_bits == pytest.approx(8 * (len(made.data) - made.header) - bits, abs=1)
    assert made.bits_per_character == 8 * len(made.data) / len(text) < 3


def test_real_text_in_several_streams_takes_what_one_carried_stream_reports() -> None:
    corpus = elman.read_corpus(["python-docs"], limit=60_000, held_out=12_000)
    model = elman.NGram.fit(elman.TextTask.of(corpus), corpus.train.ids, order=4)
    data = corpus.vocab.decode(corpus.held_out.ids).encode()
    made = elman.compress(model, data, details=True)
    assert made.streams == 2
    expected = elman.evaluate(model, data.decode(), streams=1).nats / math.log(2)
    assert 8 * (len(made.data) - made.header) == pytest.approx(expected, rel=5e-3)
    assert elman.decompress(model, made.data) == data


def test_an_n_gram_costs_what_its_formula_says() -> None:
    model = ngram()
    expected = model.surprisals(model.task.vocab.encode(TEXT)).sum() / math.log(2)
    assert through(model, TEXT.encode())[1]["model"] == pytest.approx(expected, rel=1e-9)


def test_streams_cost_what_each_costs_alone() -> None:
    parts = [TEXT[i : i + 500] for i in range(0, 1500, 500)]
    _, bits, _ = through(gru(), TEXT.encode(), streams=3)
    assert bits["model"] == pytest.approx(sum(ideal(gru(), part) for part in parts), rel=1e-5)


def test_unknown_symbols_cost_their_unk_and_their_spelling() -> None:
    text = "She old clockÉ.\n" * 9
    body, bits, _ = through(ngram(), text.encode())
    assert bits["model"] == pytest.approx(ideal(ngram(), text), rel=1e-9)
    # É is two bytes and an end, each by its count: 1 of 257 at first, then (1 + 32 k) of (257 + 32 k)
    spelling = 3 * sum(math.log2((257 + 32 * k) / (1 + 32 * k)) for k in range(9))
    assert bits["other"] == pytest.approx(spelling)
    assert abs(8 * len(body) - bits["model"] - spelling) < 64


def test_a_closed_vocabulary_pays_its_escapes_by_their_count() -> None:
    text = "She oldX clock.\n"
    _, bits, _ = through(ngram("char-closed"), text.encode())
    counts, flags = [0.5, 0.5], 0.0
    for character in text:
        known = character in TEXT
        flags -= math.log2(counts[known] / sum(counts))
        counts[known] += 1
    assert bits["other"] == pytest.approx(flags + 2 * math.log2(257))
    assert through(ngram("char-closed"), TEXT.encode())[1]["other"] < math.log2(len(TEXT)) / 2 + 2


def test_words_pay_for_their_spacing_which_is_learnt() -> None:
    _, bits, _ = through(ngram("word"), TEXT.encode())
    spaced = " ".join(TEXT.split(" "))
    assert bits["model"] == pytest.approx(ideal(ngram("word"), spaced), rel=1e-9)
    assert 0 < bits["other"] < 1.5 * len(TEXT.split())


def test_any_probability_can_be_coded() -> None:
    model = ngram(smoothing="laplace", eps=0.0)
    text = "clock old She\n"  # pairs that the training text does not have: probability 0
    body, bits, found = through(model, text.encode())
    assert bits["model"] == math.inf
    assert found.decode() == text
    assert len(body) <= 3 * len(text) + 8, "24 bits are the most that a token takes"


# --- what cannot be read is refused


BLOB = cache(lambda: elman.compress(ngram(), TEXT[:400].encode()))


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_every_damaged_byte_is_found_before_decoding(change: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "decode_body", None)
    blob = BLOB()
    for i in range(len(blob)):
        damaged = blob[:i] + bytes([blob[i] ^ change]) + blob[i + 1 :]
        with pytest.raises(DataError, match=r"copy or download it again|not a file that elman compressed"):
            elman.decompress(ngram(), damaged)


def test_every_truncation_and_addition_is_found() -> None:
    blob = BLOB()
    longer = blob[:-8] + bytes(4)
    longer += hashlib.sha256(longer).digest()[:8]  # by somebody who knows the format
    for data in (*(blob[:i] for i in range(len(blob))), blob + b"\0", blob + blob, longer):
        with pytest.raises(DataError, match=r"cut short|damaged|not a file that elman compressed"):
            elman.decompress(ngram(), data)


@given(st.binary(max_size=200))
def test_other_bytes_are_no_such_file(data: bytes) -> None:
    with pytest.raises(DataError):
        elman.decompress(ngram(), data)
    with pytest.raises(DataError):
        Container.from_bytes(MAGIC + b"\x01" + data)


def test_another_model_is_refused() -> None:
    def off_by_one_bit() -> elman.Recurrent:
        model = shaken(elman.Recurrent(elman.TextTask(VOCABS["char"]()), cell="gru", hidden=9))
        with torch.no_grad():
            model.b_q[3] = torch.nextafter(model.b_q[3], torch.tensor(9.0))
        return model

    blob = elman.compress(gru(), TEXT.encode())
    counted = elman.compress(ngram(), TEXT.encode())
    others = [off_by_one_bit(), ngram(), gru("byte"), gru(reverse=True), gru(layers=2)]
    for other in others:
        with pytest.raises(ModelError, match=r"with another model, .* of this .*: give the run that compressed it"):
            elman.decompress(other, blob)
    for other in (ngram(order=2), ngram(smoothing="witten-bell"), ngram(clean="lower"), ngram("char-rare")):
        with pytest.raises(ModelError, match="another model"):
            elman.decompress(other, counted)


def test_a_saved_model_reads_what_it_wrote_before(tmp_path) -> None:
    for i, model in enumerate([gru(), ngram("word", reverse=True), mlp(), gru(layers=2, embedding=4)]):
        blob = elman.compress(model, TEXT.encode())
        elman.save(model, tmp_path / str(i))
        assert elman.decompress(elman.load(tmp_path / str(i), engine="loop"), blob) == TEXT.encode()


@pytest.mark.parametrize("what", PLATFORM[:-1])
def test_another_program_or_machine_is_refused_by_name(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = coding.platform_fingerprint(ngram())
    assert len(here) == len(PLATFORM) - 1  # nothing but these decides the bits of what holds no experts
    assert all(here)
    at = PLATFORM.index(what)
    monkeypatch.setattr(coding, "platform_fingerprint", lambda _: (*here[:at], "strange", *here[at + 1 :]))
    blob = elman.compress(ngram(), TEXT.encode())
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=re.escape(f"compressed with {what} 'strange', here '{here[at]}'")):
        elman.decompress(ngram(), blob)


@pytest.mark.skipif(not is_compiled(), reason="installed without a compiler")
def test_a_file_is_read_by_the_experts_that_wrote_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled, or by numpy as before there was a compiled form; whose last bits differ."""
    model = elman.models.hybrid.Hybrid(gru(), ngram_experts=3)
    model.prepare(model.task.vocab.encode(TEXT))
    data = TEXT[:300].encode()
    compiled = elman.compress(model, data)
    with expert_sets.by_definition():
        before = elman.compress(model, data)
    assert Container.from_bytes(compiled).platform[7:] == ("compiled experts",)
    assert Container.from_bytes(before).platform[7:] == ()
    assert elman.decompress(model, compiled) == elman.decompress(model, before) == data
    monkeypatch.setattr(expert_sets, "is_compiled", lambda: False)
    assert elman.decompress(model, before) == data
    with pytest.raises(ConfigError, match="compressed with numerics 'compiled experts', here ''"):
        elman.decompress(model, compiled)


class Elsewhere:
    """A model that computes otherwise from some step on, as another processor might."""

    def __init__(self, model: SequenceModel, after: int) -> None:
        self.model, self.after = model, after

    @property
    def __class__(self):  # it passes for what it wraps
        return type(self.model)

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)

    def stepper(self):
        step, calls = self.model.stepper(), 0

        def stepped(tokens, state):
            nonlocal calls
            calls += 1
            logits, state = step(tokens, state)
            return logits + (torch.linspace(0, 0.1, logits.shape[1]) if calls > self.after else 0), state

        return stepped


def test_a_machine_that_computes_otherwise_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = elman.compress(gru(), TEXT.encode())
    monkeypatch.setattr(coding, "decode_body", None)
    with pytest.raises(ConfigError, match="predicts other numbers here"):
        elman.decompress(Elsewhere(gru(), after=3), blob)


@pytest.mark.parametrize(
    ("name", "after"), [("gru char", 20), ("gru char-closed", 100), ("gru word", 100), ("gru byte", 300)]
)
def test_a_machine_that_computes_otherwise_later_never_gives_a_wrong_file(name: str, after: int) -> None:
    model, data = MODELS[name](), (TEXT + ODD).encode()
    blob = coded_anyway(model, data)
    assert elman.decompress(model, blob) == data
    with pytest.raises(ConfigError, match="what was decoded is not the original"):
        elman.decompress(Elsewhere(model, after), blob)


def coded_anyway(model: SequenceModel, data: bytes) -> bytes:
    """A file whose body is coded even where that is longer."""
    text = LosslessTokens.encode(data, model.task.vocab)
    n, (body, _) = len(text.ids), coding.encode_body(model, text, 1)
    made = Container(
        len(data), n, 1, hashlib.sha256(data).digest()[:16], coding.model_digest(model),
        coding.prediction_digest(model, 1), coding.platform_fingerprint(model), body,
    )  # fmt: skip
    return made.to_bytes()


@pytest.mark.parametrize("body", [b"", b"abc", bytes(4), b"\xff" * 40])
@pytest.mark.parametrize("name", ["gru char", "gru word-closed", "3-gram word", "gru byte"])
def test_a_body_that_nobody_wrote_ends(name: str, body: bytes) -> None:
    model = MODELS[name]() if name in MODELS else gru("word-closed")
    found = Container.from_bytes(coded_anyway(model, TEXT.encode()))
    with pytest.raises(ConfigError, match="is not the original"):
        elman.decompress(model, replace(found, body=body).to_bytes())


def test_sizes_that_cannot_be_are_refused_before_anything_is_made() -> None:
    found = Container.from_bytes(BLOB())
    for odd in (replace(found, tokens=found.length + 1), replace(found, streams=65)):
        with pytest.raises(DataError, match="cannot be 400 bytes"):
            elman.decompress(ngram(), odd.to_bytes())


def test_the_layout_of_the_file() -> None:
    """Written down once more: a file of today must be read by what comes later, or refused by its version."""
    blob, data = BLOB(), TEXT[:400].encode()
    assert blob[:7] == b"\x8eelman\x02"
    length, tokens, streams, size = struct.unpack_from("<QQBQ", blob, 7)
    assert (length, tokens, streams) == (400, 400, 1)
    assert blob[32:48] == hashlib.sha256(data).digest()[:16]
    made = blob[65 : 65 + blob[64]].decode().split("\n")
    assert made[0] == elman.environment.version("elman")
    assert len(blob) == 65 + blob[64] + size + 8 < 400
    assert blob[-8:] == hashlib.sha256(blob[:-8]).digest()[:8]
    assert elman.compress(ngram(), codecs.BOM_UTF8 + data)[:7] == b"\x8eelman\x03"
    newer = blob[:6] + b"\x04" + blob[7:]
    with pytest.raises(DataError, match="format 4, but this elman reads 1 to 3"):
        elman.decompress(ngram(), newer)


# --- what cannot be written is refused


def test_a_text_that_the_cleaning_would_change_is_refused() -> None:
    model = ngram(clean="lower")
    assert elman.decompress(model, elman.compress(model, b"the old clock" * 20)) == b"the old clock" * 20
    with pytest.raises(DataError, match=r"--normalize lower.* at character 4 .*--normalize none"):
        elman.compress(model, b"the Old clock")
    with pytest.raises(DataError, match="at character 5 "):
        elman.compress(ngram(clean="letters-lines"), b"clock ")


def test_a_prediction_that_is_none_is_refused() -> None:
    model = shaken(elman.Recurrent(elman.TextTask(VOCABS["char"]()), hidden=3))
    with torch.no_grad():
        model.b_q[2] = math.nan
    with pytest.raises(ModelError, match="predicts NaN or infinity"):
        elman.compress(model, TEXT.encode())


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = BLOB()
    monkeypatch.setitem(sys.modules, "constriction", None)
    for call in (lambda: elman.compress(ngram(), b"abc"), lambda: elman.decompress(ngram(), blob)):
        with pytest.raises(ConfigError, match=r'needs constriction: pip install "elman\[compress\]"'):
            call()
