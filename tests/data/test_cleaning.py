"""Each cleaning is what its formula says of the whole text, wherever the pieces were cut."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elman.data.cleaning import ASCII_CASELESS, CLEANINGS, SIGMA, cleaning
from elman.errors import ConfigError

PREPENDED = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\u200b"
EXTENDS = "\uff9e\uff9f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # and all of M, and Cf but the above


def is_letter(character):
    return unicodedata.category(character)[0] == "L"


def kept_letters(text):
    """Letters, what extends them and the apostrophes between them; "\\0" for everything else."""
    kept = ""
    for character, following in zip(text, f"{text[1:]} ", strict=False):
        in_word = kept[-1:] not in ("", "\0")
        category = unicodedata.category(character)
        is_mark = character in EXTENDS or category[0] == "M" or (category == "Cf" and character not in PREPENDED)
        stays = in_word if is_mark else is_letter(character) or (character == "’" and in_word and is_letter(following))
        kept += character if stays else "\0"
    return kept


def letters(text):
    return re.sub("\0+", " ", kept_letters(text)).lower()


def reference_letters(text):
    lines = [kept_letters(line).replace("\0", " ") for line in text.split("\n")]
    return "".join(re.sub(" +", " ", line).strip(" ") for line in lines).lower()


# The definitions, each on the whole text at once.
ORACLES = {
    "none": lambda text: text,
    "lower": str.lower,
    "lower-spaces": lambda text: re.sub(r"\s+", " ", text.lower()),
    "letters": letters,
    "letters-lines": lambda text: " ".join(
        line for line in (letters(line).strip(" ") for line in text.split("\n")) if line
    ),
    "reference-letters": reference_letters,
}

# Dense in what is hard: capital sigmas, marks and apostrophes inside a word, white space of every kind.
hard = st.text(st.sampled_from("aZéΣσİß\u0301'.: \n\t\x1c\u2003\u200b1時2ﬁ𐐀-’\u200c\u00ad"))
plain = st.text(st.characters(exclude_categories=["Cs", "Cn"]))  # what is assigned later is not known to this Python


@st.composite
def cut_texts(draw):
    text = draw(hard | plain)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)))))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@pytest.mark.parametrize("name", CLEANINGS)
@given(cut_texts())
@example(["aΣ", "'", "b Σ", "", "'", " ", "aΣ"])
@example([" ", "", " a", " ", "\n", "b ", " "])
@example(["ab", "Σ", "Σ", "\u0301", "."])
def test_pieces_give_what_the_whole_gives(name, pieces):
    assert "".join(CLEANINGS[name].apply(pieces)) == ORACLES[name]("".join(pieces))


@pytest.mark.parametrize("character", [chr(code) for code in range(128)])
def test_what_ends_a_word_before_a_sigma(character):
    pieces = ["a", character, SIGMA]
    assert "".join(CLEANINGS["lower"].apply(pieces)) == "".join(pieces).lower()
    ignorable = ("a" + character + SIGMA).lower()[-1] != ("-" + character + SIGMA).lower()[-1]
    assert ignorable == (character in ASCII_CASELESS)


def test_the_textbook_letters_of_an_english_text_without_the_lost_word_boundaries():
    text = "The Time Traveller (for so we speak of him)\nwas expounding.\n\n  His grey eyes 8"
    assert CLEANINGS["letters"](text) == re.sub("[^A-Za-z]+", " ", text).lower()
    assert "him was expounding his grey eyes" in CLEANINGS["letters-lines"](text)
    lines = [re.sub("[^A-Za-z]+", " ", line).strip().lower() for line in text.splitlines()]
    assert CLEANINGS["reference-letters"](text) == "".join(lines)


def test_letters_of_every_script_stay():
    assert CLEANINGS["letters"]("Für NAÏVE Ärzte, 3 時間! Привет हिन्दी") == "für naïve ärzte 時間 привет हिन्दी"


def test_what_extends_a_letter_stays_and_what_extends_another_goes():
    text = "می‌خواهم क्\u200dष so\u00adft don’t ‘go’ 1\u0301 ❤\ufe0f e\u0301"
    assert CLEANINGS["letters"](text) == "می‌خواهم क्\u200dष so\u00adft don’t go e\u0301"
    assert cleaning("letters", "0.1")(text) == "می خواهم क् ष so ft don t go \u0301 \ufe0f e\u0301"
    assert cleaning("reference-letters", "0.1")("don’t\n1e\u0301") == "don te\u0301"
    assert CLEANINGS["reference-letters"]("don’t\n1e\u0301") == "don’te\u0301"


def test_an_unknown_cleaning_names_those_there_are_and_the_nearest():
    with pytest.raises(ConfigError, match=r"'leters'.*mean letters\?.*none, lower, lower-spaces"):
        cleaning("leters")
    assert cleaning("letters") is CLEANINGS["letters"]


def test_each_says_what_it_does():
    assert all(name == each.name and each.description for name, each in CLEANINGS.items())
