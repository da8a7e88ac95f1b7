"""Where sentences end, in the languages the package serves, and that no text is lost."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.sentences import split_sentences

# Built of what the rule looks at, so that marks, spaces and quotes meet often.
TEXT = st.lists(
    st.sampled_from(
        [*'.!?…"”’)] \t\n\u00a0\u2028\u3000。！？」', "Dr", "e.g", "U.S", "A", "a", "글", "3"]
    )
).map("".join)


@pytest.mark.parametrize(
    "text",
    [
        "One cat. Two dogs.",
        "Is it? Yes.",
        "He left… Then he came back.",
        "Wait... Nobody knows.",
        "It ended in 1999. Nobody cared.",
        "It was late. 12 men came.",
        'She said "Go." He went.',
        "“I love Paris.” She left.",
        "(It rained.) We stayed in.",
        "He asked why?! She laughed.",
        "He takes vitamins. A friend came.",
        "나는 밥을 먹었다. 맛있었다!",
        "어디 가니? 학교에 간다.",
        "“안녕하세요.” 그는 말했다.",
    ],
)
def test_text_ends_a_sentence_at_one_place_only(text: str) -> None:
    first, second, *rest = split_sentences(text)
    assert f"{first} {second}" == text
    assert not rest
    assert first[-1] in '.!?…"”)'


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Is it? Yes! It is.", ["Is it?", "Yes!", "It is."]),
        ("나는 밥을 먹었다. 맛있었다! 너는?", ["나는 밥을 먹었다.", "맛있었다!", "너는?"]),
        ("今日は。元気？はい！", ["今日は。", "元気？", "はい！"]),
        ("「行く。」彼は言った。", ["「行く。」", "彼は言った。"]),
        ("No mark at the end", ["No mark at the end"]),
        ("  white \n\t space\u3000here.  And there. ", ["white space here.", "And there."]),
        ("", []),
        (" \n\t ", []),
        ("...", ["..."]),
    ],
)
def test_sentences_of_a_paragraph(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Kim met Mrs. Lee and Prof. Park.",
        "The U.S. Army and the U.K. Parliament agreed.",
        "J. R. R. Tolkien wrote it.",
        "See e.g. Devlin et al. 2018, fig. 3 and cf. Sec. 4.",
        "Pi is 3.14 and e is 2.718.",
        "It costs $5.00 at example.com.",
        "He waited... and waited… and left.",
        '"Stop!" he cried, "or else?" she asked.',
        "It is vs. ours (i.e. Theirs) in Jan. 2019.",
        "Python 3.11 has a.b.c names.",
        "버전 3.14는 새롭다.",
    ],
)
def test_abbreviations_initials_decimals_and_quotes_end_no_sentence(text: str) -> None:
    assert split_sentences(text) == [text]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(TEXT)
def test_no_character_is_lost(text: str) -> None:
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    for sentence in sentences:
        assert sentence == " ".join(sentence.split())
        assert sentence


@settings(max_examples=300, deadline=None, derandomize=True)
@given(TEXT)
def test_a_sentence_is_not_split_again(text: str) -> None:
    for sentence in split_sentences(text):
        assert split_sentences(sentence) == [sentence]


@pytest.mark.parametrize(
    ("unit", "length"),
    [
        *((unit, 400_000) for unit in ("a", "a.", "a.)", "가", "。")),
        *((unit, 100_000) for unit in ("Dr. ", "a. B", "A. ")),
        *((unit, 20_000) for unit in (".", "!?…", "?)", ". ")),
    ],
)
def test_long_text_takes_linear_time(unit: str, length: int) -> None:
    """A rule that looks back or ahead without bound takes from three seconds to hours."""
    text = unit * (length // len(unit))
    start = time.process_time()
    sentences = split_sentences(text)
    assert time.process_time() - start < 1.5
    assert sum(map(len, sentences)) >= len(text.replace(" ", ""))
