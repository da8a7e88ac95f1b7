"""Which script a text is written in."""

import unicodedata
from collections.abc import Iterable
from functools import cache

import numpy as np
from jaxtyping import Bool

from bert_jax.errors import UserError


def parse_scripts(names: str) -> frozenset[str]:
    """Such as "HANGUL" or "hiragana, katakana, CJK", the first words of Unicode names.

    Raises:
      UserError: a name that no letter's begins with.
    """
    scripts = frozenset(name.strip().upper() for name in names.split(",") if name.strip())
    for script in scripts:
        if not _letters(frozenset([script])).any():
            raise UserError(
                f"data.scripts: no letter is in a script {script!r}; write the first word of "
                "Unicode names, such as LATIN, HANGUL, CYRILLIC, ARABIC, CJK"
            )
    return scripts


def script_of(text: str) -> str | None:
    """The script of a text's first letter, by its Unicode name, such as HANGUL; None without one.

    >>> script_of("(한국어)"), script_of("3.14")
    ('HANGUL', None)
    """
    letter = next(filter(str.isalpha, text), None)
    return unicodedata.name(letter, "OTHER").partition(" ")[0] if letter else None


def is_in_scripts(lines: Iterable[str], scripts: frozenset[str]) -> bool:
    """Whether at least half of a text's letters are in some scripts; in any, if none is named.

    >>> is_in_scripts(["한국어 (Korean)"], frozenset(["HANGUL"]))
    False
    """
    if not scripts:
        return True
    text = "".join(lines).encode("utf-32-le", errors="surrogatepass")
    characters = np.frombuffer(text, "<u4")
    letters = int(_letters(frozenset())[characters].sum())
    return 0 < letters <= 2 * int(_letters(scripts)[characters].sum())


@cache
def _letters(scripts: frozenset[str]) -> Bool[np.ndarray, " code_points"]:
    """Which code points are letters of some scripts; of any, if none is named."""
    return np.fromiter(
        (
            character.isalpha()
            and (not scripts or unicodedata.name(character, "").partition(" ")[0] in scripts)
            for character in map(chr, range(0x110000))
        ),
        np.bool_,
        0x110000,
    )
