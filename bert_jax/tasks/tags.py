"""Tags of entities: all the ways of writing them, read as one.

In IOB2 the first word of an entity is B-TYPE, its others I-TYPE, words of none O. The
original files of CoNLL-2003 have IOB1, where B- only parts neighbours of one type;
others mark last words and lone ones too (IOBES: E-, S-; BILOU: L-, U-).
"""

from collections.abc import Sequence

from bert_jax.errors import UserError

_BEGINS, _GOES_ON, _ENDS = "BSU", "IEL", "ESLU"


class TagError(UserError):
    """A tag of a sequence is none.

    Attributes:
      number: of that tag, from 0.
    """

    def __init__(self, tag: str, number: int):
        """Says what it should be."""
        super().__init__(f"tag {tag!r} is neither O nor like B-PER or I-PER")
        self.number = number


def as_iob2(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags of a sentence in IOB2; those in it stay as they are.

    What goes on with an entity that is not there begins one, as conlleval reads it.

    Raises:
      TagError: one is no tag.
    """
    read = []
    inside = ""  # the type of an entity that may go on
    for number, tag in enumerate(tags):
        if tag == "O":
            read.append(tag)
            inside = ""
            continue
        mark, dash, kind = tag.partition("-")
        if not (dash and kind and mark in {*_BEGINS, *_GOES_ON}):
            raise TagError(tag, number)
        goes_on = mark in _GOES_ON and kind == inside
        read.append(f"{'I' if goes_on else 'B'}-{kind}")
        inside = "" if mark in _ENDS else kind
    return tuple(read)
