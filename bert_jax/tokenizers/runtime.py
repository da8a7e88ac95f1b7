"""What does the splitting: a small interface, so that nothing else knows which library it is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

Cut = Literal["nowhere", "spaces", "punctuation", "ideographs"]
"""Where a text may be cut without changing its pieces; each allows what those before it do.

`spaces`: before a space that stands after something else than white space.
`punctuation`: on both sides of ASCII punctuation, unless a mark may follow that
combines with it, as in ≠.
`ideographs`: on both sides of those from U+4E00 to U+9FFF.
"""


class Specials(NamedTuple):
    """The texts of the five tokens that BERT cannot do without."""

    pad: str = "[PAD]"
    unk: str = "[UNK]"
    cls: str = "[CLS]"
    sep: str = "[SEP]"
    mask: str = "[MASK]"


@runtime_checkable
class Pieces(Protocol):
    """A text in pieces, without [CLS] and [SEP]."""

    @property
    def ids(self) -> list[int]:
        """Token ids."""

    @property
    def tokens(self) -> list[str]:
        """The pieces as the vocabulary writes them."""

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Each piece's span of characters in the text."""

    @property
    def word_ids(self) -> list[int | None]:
        """Which word a piece belongs to, ascending from 0."""


class ListedPieces(NamedTuple):
    """`Pieces` as plain lists."""

    ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    word_ids: list[int | None]


@runtime_checkable
class Runtime(Protocol):
    """One vocabulary and its rules.

    Attributes:
      type: the name of its family, as `train_tokenizer` calls it.
      vocab: the id of every piece.
      specials: texts of the special tokens, all of them in `vocab`.
      reserved_ids: ids that are no text: special tokens, slots for later use.
      compat: whose tokenizer it equals where that differs from the default's.
      cut: where a text may be cut.
      rules: what `tokenizer_config.json` says of it beside that.
    """

    type: str
    vocab: Mapping[str, int]
    specials: Specials
    reserved_ids: frozenset[int]
    compat: Literal["google"] | None
    cut: Cut
    rules: Mapping[str, object]

    def split(self, texts: Sequence[str], *, keep_specials: bool) -> Sequence[Pieces]:
        """The pieces of texts.

        Args:
          texts: valid Unicode, without lone surrogates.
          keep_specials: special tokens in a text, such as [MASK], are kept
            whole; otherwise they are ordinary characters.
        """

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text of ids, special tokens as they are written."""

    def files(self) -> dict[str, bytes]:
        """The files that decide the ids, by name; the same bytes however often saved."""
