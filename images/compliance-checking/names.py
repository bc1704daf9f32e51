"""Names of people and companies, compared as sanctions screening does: by normal form, not by spelling. Pure.

A name becomes words without case, accents, punctuation, titles and legal forms, in Latin letters. ``same_name`` wants
the same words in any order. ``similar_name`` also finds a name with words left out or added, with a misspelt or
differently transcribed word, an initial, and words that are joined or split.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

from anyascii import anyascii
from jellyfish import damerau_levenshtein_distance

# Letters of other scripts that look like Latin ones. They are read as Latin in a word that has Latin letters too:
# "Sаnctionov" with a Cyrillic а is the same word as with a Latin one.
_LOOK_ALIKES = str.maketrans("авекмнорстухіјѕԁԛԝһαεικνορτυχ", "abekmhopctyxijsdqwhaeiknoptux")
# German and Nordic names are written with a diacritic, with two letters, or with one: Müller, Mueller, Muller.
_DIGRAPHS = (("ae", "a"), ("oe", "o"), ("ue", "u"))
# How transcriptions of one name differ: Sanktsionov and Sanctionov, Youssef and Yusuf, Wladimir and Vladimir.
_TRANSCRIPTIONS = tuple(
    (re.compile(written), read)
    for written, read in (
        ("shch|sch", "sh"), ("tch", "ch"), ("kh", "h"), ("ph", "f"), ("ou|oo", "u"), ("ee", "i"), ("dzh|dj", "j"),
        ("ts", "t"), ("ck|c(?!h)", "k"), ("w", "v"), ("(?<!^)y", "i"), ("x", "ks"), (r"(.)\1+", r"\1"),
    )
)  # fmt: skip
_VOWELS = re.compile("[aeiou]")
# Titles and legal forms do not say who is meant.
_NOISE_WORDS = """
    mr mrs ms dr prof sir the of and inc llc llp ltd limited plc corp co company gmbh ag kg sa sas sarl spa
    srl bv nv oy ab as
"""
_NOISE = frozenset(_NOISE_WORDS.split())
# The edits (letters added, left out, replaced; neighbours swapped) that leave a word the same one, by its length: Anna
# and Hanna are two names, Sanctionov and Snactionov one.
_EDITS = ((9, 2), (6, 1))
# A shorter word is another name when a vowel changes: Anna, Anne; Maria, Mario.
_VOWELS_LEAST = 5
# Names are compared word by word; longer ones only by the words that they share.
_WORDS_MAX = 5


@dataclass(frozen=True, slots=True)
class Name:
    """A name in normal form. words: each once, sorted; loose: the same words as similarity compares them."""

    words: tuple[str, ...]
    loose: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.words)


def normalise(name: str) -> Name:
    """``normalise("GROSSMUSTER, Jürgen") == normalise("juergen großmuster")``. Noise alone keeps its words."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    # Punctuation within a word joins (O'Neil, S.A.), everywhere else it separates.
    letters = "".join(
        " " if character.isspace() or character in "-,/&;_" else character
        for character in folded
        if character.isalnum() or character.isspace() or character in "-,/&;_" or unicodedata.combining(character)
    )
    words = {word for each in letters.split() for word in _latin(each).split()}
    kept = sorted(word for word in words if word not in _NOISE) or sorted(words)
    return Name(tuple(kept), tuple(_loose(word) for word in kept))


def normalise_all(names: Iterable[str]) -> tuple[Name, ...]:
    return tuple(normalise(name) for name in names)


def same_name(listed: Name, name: Name) -> bool:
    """The same words in normal form, in any order."""
    return bool(listed) and listed.words == name.words


def similar_name(listed: Name, name: Name) -> bool:
    """Whether all words of the shorter name are in the longer one, each as itself, misspelt or as an initial.

    At least one whole word must agree, and two words in all: a single word is similar to nothing but itself, because
    it would stop everyone who shares it.
    """
    shorter, longer = sorted((listed.loose, name.loose), key=len)
    if len(shorter) >= 2 and _covers(longer, shorter):
        return True
    return _same_letters(listed.loose, name.loose)


def shares_a_word(listed: Name, name: Name) -> bool:
    """Whether a name of one word, too short for ``similar_name``, is a word of the listed name or misspells one."""
    return len(name.loose) == 1 and any(_same_word(word, name.loose[0]) for word in listed.loose)


def _covers(longer: Sequence[str], shorter: Sequence[str]) -> bool:
    """Each word of ``shorter`` has a word of ``longer`` to itself, at most one of them as an initial."""

    def assign(left: Sequence[str], free: frozenset[int], initials: int) -> bool:
        if not left:
            return True
        word, *rest = left
        for place in free:
            whole = _same_word(word, longer[place])
            initial = not whole and initials > 0 and _is_initial(word, longer[place])
            if (whole or initial) and assign(rest, free - {place}, initials - initial):
                return True
        return False

    return assign(sorted(shorter, key=len, reverse=True), frozenset(range(len(longer))), initials=1)


def _is_initial(one: str, other: str) -> bool:
    return 1 in (len(one), len(other)) and one[:1] == other[:1]


def _same_word(one: str, other: str) -> bool:
    if one == other:
        return True
    length = min(len(one), len(other))
    most = next((edits for least, edits in _EDITS if length >= least), 0)
    # A difference in length is that many edits, and most pairs differ by more.
    if abs(len(one) - len(other)) > most:
        return False
    return bool(damerau_levenshtein_distance(one, other) <= most) or _same_but_vowels(one, other)


def _same_but_vowels(one: str, other: str) -> bool:
    """Whether words of three consonants or more differ only in which vowels they have: Mohammed, Muhammad."""
    return (
        _VOWELS.sub("*", one) == (frame := _VOWELS.sub("*", other))
        and len(frame) >= _VOWELS_LEAST
        and len(frame.replace("*", "")) >= 3
    )


def _same_letters(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the names differ only in where words end: Abd al Rahman Example, Abdalrahman Example."""
    if len(one) == len(other) or max(len(one), len(other)) > _WORDS_MAX or min(len(one), len(other)) < 1:
        return False
    shorter, longer = sorted((one, other), key=len)
    joined = "".join(sorted("".join(longer)))
    if "".join(sorted("".join(shorter))) != joined:
        return False
    letters = {"".join(each) for each in permutations(longer)}
    return any("".join(each) in letters for each in permutations(shorter))


def _latin(word: str) -> str:
    """A word in plain Latin letters; several words where the script does not separate them."""
    if any(character.isascii() and character.isalpha() for character in word):
        word = word.translate(_LOOK_ALIKES)
    # Capitals mark where anyascii begins a new syllable or word of Chinese and Korean, which has no spaces.
    transcribed = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", anyascii(unicodedata.normalize("NFC", word))).casefold()
    text = "".join(character for character in transcribed if character.isalnum() or character == " ")
    for pair, single in _DIGRAPHS:
        text = text.replace(pair, single)
    return text


def _loose(word: str) -> str:
    for written, read in _TRANSCRIPTIONS:
        word = written.sub(read, word)
    return word
