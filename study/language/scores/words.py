"""Words as contamination compares them: what looks equal is equal, whatever the code points.

Owns which letters are the same and where a text is cut. Case, normal form (NFKC: composed or not,
full and half widths, ligatures, forms of position), invisible characters (soft hyphens, joiners,
byte-order and direction marks, variation selectors), HTML's entities and line breaks do not count,
nor do a few letters that Unicode encodes twice (`_TWICE`). Letters of different scripts that
resemble each other (Latin and Cyrillic a), and simplified and traditional characters, differ.

A word is a run of letters and digits with their marks. Scripts written without spaces have no such
runs: each of their characters with its marks is a unit of its own, as in T5's
`pad_nonspaced_languages`, whose ranges these are, with Kana's extensions, Bopomofo, Yi, Balinese
and the other Tai scripts added.
"""

from __future__ import annotations

import html
import re
import unicodedata

_ENTITY = re.compile(r"&(?:amp;)*(#?\w{1,32};)")
"""Only with its semicolon, so that `&para=2` in an address stays; escaped twice is escaped."""
_TAG = re.compile(r"<br\s*/?>", re.IGNORECASE)
_OTHER = re.compile(r"[\W_]+")
_PUNCTUATION = re.compile("[\xa0-\xa9\xab\xac\xae-\xb1\xb4\xb6-\xb8\xbb\xbf\u2010-\u2027\u2122]+")
"""What English is printed with: without it most of its texts are ASCII, which is read faster. An
accent that stands alone is an apostrophe here, which NFKC would put onto a space."""
_INVISIBLE = re.compile(
    "[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]+"
)
"""Unicode's Default_Ignorable_Code_Point."""
_UNSPACED = re.compile(
    "[\u0e00-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\u3005-\u3007\u3021-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\ua48f\ua980-\ua9df\ua9e0-\ua9ff\uaa60-\uaadf\uf900-\ufaff"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff]"
)
_DETACHED = re.compile(
    " (["
    + "".join(
        letter
        for letter in map(chr, range(0x0E00, 0xAAE0))
        if unicodedata.category(letter) in ("Mn", "Mc") and _UNSPACED.match(letter)
    )
    + "])"
)
_TWICE = str.maketrans(
    {
        # dots of Turkish, both of whose i are I's small letters somewhere
        "ı": "i",
        # Romanian's commas, often written as cedillas
        "ș": "ş",
        "ț": "ţ",
        # Arabic's and Persian's yeh and kaf, and the stroke that only widens a word
        "ي": "ی",
        "ى": "ی",
        "ك": "ک",
        "\u0640": "",
        # Malayalam's and Bengali's final forms, once written with a joiner
        "ൺ": "ണ്",
        "ൻ": "ന്",
        "ർ": "ര്",
        "ൽ": "ല്",
        "ൾ": "ള്",
        "ൿ": "ക്",
        "ৎ": "ত্",
        # apostrophes that count as letters
        "\u02b9": " ",
        "\u02bb": " ",
        "\u02bc": " ",
        "\u02bd": " ",
        "\u02c8": " ",
        "\ua78c": " ",
    }
)


class _Cut(dict[int, str | int]):
    """What becomes of a character of normalised text, found out once each."""

    def __missing__(self, code: int) -> str | int:
        letter = chr(code)
        made: str | int = code
        if unicodedata.category(letter) not in ("Mn", "Mc"):
            made = " " if not letter.isalnum() else f" {letter} " if unspaced(letter) else code
        self[code] = made
        return made


_CUT = _Cut(_TWICE)


def words(text: str) -> list[str]:
    """The text's words, and units of scripts without spaces, in one form each."""
    if "&" in text:
        text = _ENTITY.sub(lambda found: html.unescape(f"&{found[1]}"), text)
    if "<" in text:
        text = _TAG.sub(" ", text)
    if not text.isascii():
        text = _PUNCTUATION.sub(" ", text)
    if text.isascii():
        return _OTHER.sub(" ", text).lower().split()
    text = _INVISIBLE.sub("", text.replace("\xad\n", ""))  # a line's end hyphenated by it
    # folding may undo a normal form; a small i keeps the dot of its capital
    text = _normal(_normal(text).casefold()).replace("i\u0307", "i")
    return _DETACHED.sub(r"\1", text.translate(_CUT)).split()


def unspaced(word: str) -> bool:
    """Whether this is a character of a script without spaces, as `words` cuts them."""
    return _UNSPACED.match(word) is not None


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text)
