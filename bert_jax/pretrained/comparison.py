"""Two models side by side: the same inputs, and how far apart what they make of them is."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from bert_jax.errors import UserError
from bert_jax.interop.naming import is_padded
from bert_jax.pretrained.outputs import Outputs
from bert_jax.pretrained.rows import Row, padded

# What rounding of float32 explains: hidden states relative to their scale, logits as they are.
HIDDEN_TOLERANCE, LOGITS_TOLERANCE = 1e-5, 1e-4
_TOP = 10

# Sentences and pairs of several lengths, so that there is padding and a segment B.
_TEXTS: tuple[tuple[str, str | None], ...] = (
    ("Paris is the [MASK] of France.", None),
    ("She cooked pasta.", "It was [MASK]."),
    (
        "I accessed the bank account.",
        "We sat on the bank of the river, and talked until it was dark.",
    ),
    ("He got bit by Python.", "Python is my favorite programming language."),
    ("Pretraining takes unbelievably long!", None),
    ("나는 파리를 [MASK].", "아름다운 도시입니다."),
    ("a", None),
    ("The model reads " + "many, many words " * 12 + "and then it stops.", "Does it?"),
)

# Where tokenizers differ: accents, case, ideographs, marks, controls, what is invisible.
NASTY = (
    "",
    " ",
    "Hello, World!",
    "naïve café résumé ÅNGSTRÖM",
    "cafe\u0301 (combining) café (composed)",
    "İstanbul ISTANBUL ıi",
    "ΟΔΥΣΣΕΥΣ και ΣΟΦΟΣ",
    "Straße STRASSE ﬁnance ﬀ",
    "안녕하세요 파리는 아름답다",
    "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "我爱巴黎。東京は日本の首都です",
    "がぎぐげご ぱぴぷぺぽ",
    "हिन्दी में लिखना",
    "สวัสดีชาวโลก",
    "مرحبا بالعالم שלום",
    "👩‍👩‍👧‍👦 🇰🇷 👍🏽 ☕️",
    "zero\u200bwidth joi\u200dner soft\u00adhyphen",
    "tab\tnew\nline\r\nreturn\u00a0no-break\u3000wide",
    "line\u2028paragraph\u2029next\u0085end",
    "\ufeffmark \ufffd replaced \x00 null \x07 bell",
    "\ue000 private \U0001fadd unassigned \U00030000 \U0002b820",
    "$1,234.56 + 10% = £5 ^_^ ~`|<>{}[]@#&*",
    "don't can't it's o'clock — “quoted” … ‘single’",
    "e-mail: a.b+c@d.org https://x.y/z?q=1&r=2#s",
    "[MASK] [CLS] [SEP] [PAD] [UNK] [mask] <s> </s> <mask>",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "a" * 99 + " " + "b" * 101 + " " + "c" * 201,
    "x² + y³ ≠ ∞ ½ ℃ №",
    "１２３ ＡＢＣ ｶﾀｶﾅ",
    "##ing ##s # # un##able",
    "\u0301\u0302 only marks \u0303",
    "word\u0338 ≠ =\u0338",
)


Encode = Callable[[str, str | None], tuple[list[int], list[int]]]
"""Ids and segment ids of a text or pair."""


@runtime_checkable
class Comparable(Protocol):
    """A model that can be compared."""

    name: str
    vocab_size: int
    max_positions: int
    encode: Encode | None
    """None without a tokenizer."""

    def forward(
        self,
        input_ids: Int[np.ndarray, "B T"],
        segment_ids: Int[np.ndarray, "B T"],
        lengths: Int[np.ndarray, " B"],
    ) -> Outputs:
        """All that it makes of a batch, attentions too."""


class Difference(NamedTuple):
    """How far apart two arrays are.

    Attributes:
      what: such as "layer 3".
      largest: of the absolute differences, at real tokens.
      scale: the largest absolute value of the first.
      tolerance: what rounding explains, as an absolute difference.
    """

    what: str
    largest: float
    scale: float
    tolerance: float

    @property
    def is_rounding(self) -> bool:
        """Whether it is small enough."""
        return self.largest <= self.tolerance


class Comparison(NamedTuple):
    """What was found.

    Attributes:
      differences: of every layer, and of every other part that both have in one shape.
      not_compared: parts that one of the two lacks, or that have different shapes.
      same_first: share of the positions with the same likeliest token, None without heads.
      same_top: share of the ten likeliest tokens that both name.
      tokenized: strings that the two split differently, None if one has no tokenizer.
    """

    differences: list[Difference]
    not_compared: list[str]
    same_first: float | None
    same_top: float | None
    tokenized: list[str] | None

    @property
    def is_rounding(self) -> bool:
        """Whether nothing but rounding differs in what was compared."""
        return all(difference.is_rounding for difference in self.differences)

    @property
    def verdict(self) -> str:
        """All of it in one line, which claims no more than was compared."""
        if not self.is_rounding:
            return "the two differ by more than rounding"
        is_all = not self.not_compared and self.tokenized is not None
        verdict = "equal to rounding" if is_all else "what both have is equal to rounding"
        return f"{verdict}, but the tokenizers differ" if self.tokenized else verdict


def compare(first: Comparable, second: Comparable) -> Comparison:
    """Puts the same texts through both.

    Where one pads its tables, only the rows that both have are compared.

    Raises:
      UserError: models of different depth, width or vocabulary, or a tokenizer whose ids
        are beyond the vocabulary.
    """
    vocab_size, num_rows = sorted((first.vocab_size, second.vocab_size))
    if vocab_size != num_rows and not is_padded(num_rows, vocab_size):
        raise UserError(
            f"{first.name} has {first.vocab_size} pieces in its vocabulary, {second.name} "
            f"{second.vocab_size}; they cannot be compared"
        )
    batch = _batch(first, second, vocab_size)
    one, other = (_crop(model.forward(*batch), vocab_size) for model in (first, second))
    if one.hidden_states.shape != other.hidden_states.shape:
        layers, width = one.hidden_states.shape[0] - 1, one.hidden_states.shape[-1]
        others = other.hidden_states.shape[0] - 1, other.hidden_states.shape[-1]
        raise UserError(
            f"{first.name} has {layers} layers of width {width}, {second.name} {others[0]} of "
            f"{others[1]}; they cannot be compared"
        )
    is_real = np.arange(batch[0].shape[1]) < batch[2][:, None]  # [B T]
    found = [
        _difference("embeddings" if n == 0 else f"layer {n}", a[is_real], b[is_real], relative=True)
        for n, (a, b) in enumerate(zip(one.hidden_states, other.hidden_states, strict=True))
    ]
    not_compared = []
    if num_rows > vocab_size:
        not_compared.append(f"{num_rows - vocab_size} rows beyond the vocabulary")
    for field in ("attentions", "pooled", "mlm_logits", "nsp_logits", "class_logits"):
        a, b = getattr(one, field), getattr(other, field)
        if (a is None) != (b is None):
            not_compared.append(f"{field} ({first.name if b is None else second.name} alone)")
        if a is None or b is None:
            continue
        if a.shape != b.shape:  # NumPy would broadcast one head or class to many
            not_compared.append(f"{field} ({_unlike(field, a, b)})")
            continue
        if field == "attentions":  # [L B N T T]: the rows of real tokens
            a, b = np.moveaxis(a, 2, 0)[:, :, is_real], np.moveaxis(b, 2, 0)[:, :, is_real]
        elif a.shape[:2] == is_real.shape and a.ndim == 3:
            a, b = a[is_real], b[is_real]
        found.append(_difference(field, a, b, relative=field in ("attentions", "pooled")))
    same_first = same_top = None
    if one.mlm_logits is not None and other.mlm_logits is not None:
        same_first, same_top = _agreement(one.mlm_logits[is_real], other.mlm_logits[is_real])
    return Comparison(found, not_compared, same_first, same_top, _tokenized(first, second))


def _crop(outputs: Outputs, vocab_size: int) -> Outputs:
    """Without the scores of rows that no piece has."""
    if outputs.mlm_logits is None:
        return outputs
    return outputs._replace(mlm_logits=outputs.mlm_logits[..., :vocab_size])


def _unlike(field: str, a: np.ndarray, b: np.ndarray) -> str:
    """How two arrays of one field differ in shape."""
    if a.ndim != b.ndim:  # class_logits
        return " and ".join("of tokens" if x.ndim == 3 else "of sentences" for x in (a, b))
    axis, unit = (2, "heads") if field == "attentions" else (-1, "classes")
    return f"{unit}: {a.shape[axis]} and {b.shape[axis]}"


def _batch(
    first: Comparable, second: Comparable, vocab_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The texts by a tokenizer of the two; ids drawn by chance if neither has one."""
    # The smaller vocabulary's tokenizer first: its ids are in both.
    models = sorted((first, second), key=lambda model: model.vocab_size)
    name, encode = next(((m.name, m.encode) for m in models if m.encode), ("", None))
    most = min(first.max_positions, second.max_positions)
    rows: list[tuple[Sequence[int], Sequence[int]]]
    if encode is not None:
        rows = [encode(text, pair) for text, pair in _TEXTS]
        largest = max(max(ids) for ids, _ in rows)
        if largest >= vocab_size:
            raise UserError(
                f"the tokenizer of {name} gives the id {largest}, but only {vocab_size} ids are "
                "in the vocabularies of both; it does not belong to this model"
            )
    else:
        random = np.random.default_rng(0)
        sizes = [most, max(1, most // 2), 1, max(1, most // 3)]
        rows = [
            (
                random.integers(0, vocab_size, size).tolist(),
                [int(i > size / 2) for i in range(size)],
            )
            for size in (min(size, 64) for size in sizes)
        ]
    cut = [Row(ids[:most], segments[:most]) for ids, segments in rows]
    longest = max(len(row.ids) for row in cut)
    input_ids, segment_ids, lengths = padded(cut, longest, len(cut), pad_id=0)
    return input_ids, segment_ids, lengths


def _difference(what: str, a: np.ndarray, b: np.ndarray, *, relative: bool) -> Difference:
    scale = float(np.abs(a).max())
    tolerance = HIDDEN_TOLERANCE * scale if relative else LOGITS_TOLERANCE
    return Difference(what, float(np.abs(a - b).max()), scale, tolerance)


def _agreement(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Shares of [n V] scores: the same first, and the same among the top ten."""
    same_first = float((a.argmax(1) == b.argmax(1)).mean())
    top = min(_TOP, a.shape[1])
    tops = [np.argpartition(-scores, top - 1, axis=1)[:, :top] for scores in (a, b)]
    shared = [len(set(x) & set(y)) / top for x, y in zip(*tops, strict=True)]
    return same_first, float(np.mean(shared))


def _tokenized(first: Comparable, second: Comparable) -> list[str] | None:
    if first.encode is None or second.encode is None:
        return None
    return [text for text in NASTY if first.encode(text, None)[0] != second.encode(text, None)[0]]
