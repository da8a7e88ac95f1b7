"""Which script a text is in."""

import pytest

from bert_jax.errors import UserError
from bert_jax.tokenizers.scripts import is_in_scripts, parse_scripts, script_of


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("word", "LATIN"),
        ("«Élan»", "LATIN"),
        ("한국어", "HANGUL"),
        ("(한) word", "HANGUL"),
        ("中文", "CJK"),
        ("ひらがな", "HIRAGANA"),
        ("слово", "CYRILLIC"),
        ("3.14", None),
        ("", None),
        ("\U0001f600", None),
    ],
)
def test_the_first_letter_decides(text: str, script: str | None) -> None:
    assert script_of(text) == script


@pytest.mark.parametrize(
    ("lines", "scripts", "wanted"),
    [
        (["한국어"], "HANGUL", True),
        (["한국어 abc"], "HANGUL", True),  # half of the letters
        (["한국어 abcd"], "HANGUL", False),
        (["한국어", "abcd"], "HANGUL, LATIN", True),
        (["漢字とかな", "カナ"], "cjk, hiragana, katakana", True),
        (["漢字とかな", "カナ"], "CJK", False),
        (["12 + 34"], "LATIN", False),
        (["12 + 34"], "", True),
        ([], "LATIN", False),
        (["\ud800 a"], "LATIN", True),  # half a character is no letter; others refuse it
    ],
)
def test_most_letters_decide_for_a_document(lines: list[str], scripts: str, wanted: bool) -> None:
    assert is_in_scripts(lines, parse_scripts(scripts)) == wanted


def test_a_script_that_no_letter_has_is_refused() -> None:
    with pytest.raises(UserError, match="no letter is in a script 'KLINGON'; write the first word"):
        parse_scripts("LATIN, klingon")
