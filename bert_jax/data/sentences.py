"""Where a sentence ends: a small rule that serves English and Korean alike.

A sentence ends at `.`, `!`, `?` or `…` with its closing quotes and brackets, if
white space follows and then no lower-case letter; never after an abbreviation
or an initial. `。`, `！`, `？` need no space. Korean ends its sentences with the
same marks (`…했다. 그는…`) and has no case, so nothing more is needed for it.

BERT needs boundaries that are mostly right, not a parser: sentences are the
grain at which pairs are cut, and a missed one only makes a longer segment.
"""

import re

_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]}]*+(?=\s)|[。！？]+[」』”’）]*")
_ABBREVIATIONS = frozenset(
    (
        "mr mrs ms dr prof rev hon st jr sr capt col gen lt sgt messrs mme mlle "
        "e.g i.e eg ie cf vs viz al resp approx no nos vol fig figs sec ch ed eds p pp op cit "
        "jan feb mar apr jun jul aug sep sept oct nov dec inc ltd co corp dept u.s u.k a.m p.m"
    ).split()
)


def split_sentences(paragraph: str) -> list[str]:
    """The sentences of one paragraph, white space collapsed, none of them empty.

    >>> split_sentences("Dr. Kim left. Did he?  Yes, e.g. by train.")
    ['Dr. Kim left.', 'Did he?', 'Yes, e.g. by train.']
    >>> split_sentences("나는 밥을 먹었다. 맛있었다!")
    ['나는 밥을 먹었다.', '맛있었다!']
    """
    text = " ".join(paragraph.split())
    sentences = []
    start = 0
    for mark in _END.finditer(text):
        if _ends_sentence(text, start, mark):
            sentences.append(text[start : mark.end()].strip())
            start = mark.end()
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if sentence]


def _ends_sentence(text: str, start: int, mark: re.Match[str]) -> bool:
    following = text[mark.end() : mark.end() + 2].strip()[:1]
    if following.islower():
        return False
    if mark.group() != ".":
        return True
    # From the last space only: a long text without any would be scanned again at every mark.
    word = text[max(start, mark.start() - 12) : mark.start()].rpartition(" ")[2].lstrip("([\"'“‘")
    is_initial = len(word) == 1 and word.isalpha() and word.isupper()
    return not (is_initial or word.lower() in _ABBREVIATIONS)
