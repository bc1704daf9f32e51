"""Comparing names of people and companies the way watch lists are screened: by normal form, not by spelling. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

Name = frozenset[str]

# Letters that Unicode does not decompose, in their usual Latin transcription.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŋ": "n", "ŧ": "t"}
)
# Cyrillic and Greek letters that look like Latin ones. Folding them, in the list and in the name alike, makes
# "Sаnctionov" with a Cyrillic а the same name as with a Latin one, and leaves names that are wholly Cyrillic or Greek
# comparable with each other.
_LOOK_ALIKES = str.maketrans("авекмнорстухіјѕԁԛԝһαεικνορτυχ", "abekmhopctyxijsdqwhaeiknoptux")
# German and Nordic names are as often written with two letters as with a diacritic: Müller, Mueller, Muller.
_DIGRAPHS = (("ae", "a"), ("oe", "o"), ("ue", "u"))
# Legal forms and titles say nothing of who is meant.
_NOISE_WORDS = """
    mr mrs ms dr prof sir the of and inc llc llp ltd limited plc corp co company gmbh ag kg sa sas sarl spa
    srl bv nv oy ab as
"""
_NOISE = frozenset(_NOISE_WORDS.split())
# A shorter word is another name when a letter changes: Anna, Hanna, Anne.
_NEAR_LENGTH = 6


def normalise(name: str) -> Name:
    """The words that make up a name, without case, accents, order, punctuation, titles and legal forms.

    ``normalise("GROSSMUSTER, Jürgen") == normalise("juergen großmuster")``. A name of nothing but noise keeps its
    words.
    """
    folded = unicodedata.normalize("NFKD", name).casefold().translate(_LETTERS)
    # Punctuation inside a word joins (O'Neil, S.A.), everywhere else it separates.
    letters = "".join(
        " " if character.isspace() or character in "-,/&;_" else character
        for character in folded
        if character.isalnum() or character.isspace() or character in "-,/&;_"
    )
    words = [_plain(word.translate(_LOOK_ALIKES)) for word in letters.split()]
    return frozenset(word for word in words if word not in _NOISE) or frozenset(words)


def _plain(word: str) -> str:
    for pair, single in _DIGRAPHS:
        word = word.replace(pair, single)
    return word


def same_name(listed: Name, name: Name) -> bool:
    """Equal in normal form; so the order of the words does not count."""
    return bool(listed) and listed == name


def similar_name(listed: Name, name: Name) -> bool:
    """All words of the listed name are in the name, which may have more of them; one may be misspelt by one letter.

    A listed name of a single word is never similar to anything: it would stop everybody who shares it.
    """
    if len(listed) < 2:
        return False
    missing = listed - name
    if not missing:
        return True
    if len(missing) > 1:
        return False
    (word,) = missing
    return len(word) >= _NEAR_LENGTH and any(within_one_edit(word, other) for other in name - listed)


def within_one_edit(one: str, other: str) -> bool:
    """Whether two words differ by at most one letter added, left out or replaced, or two neighbours swapped."""
    if abs(len(one) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    rest, other_rest = one[start:], other[start:]
    return (
        rest[1:] == other_rest[1:]
        or rest[1:] == other_rest
        or rest == other_rest[1:]
        or (len(rest) >= 2 and rest[1::-1] + rest[2:] == other_rest)
    )


def normalise_all(names: Iterable[str]) -> tuple[Name, ...]:
    return tuple(normalise(name) for name in names)
