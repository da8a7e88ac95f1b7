"""The `Tokenizer`: texts and pairs to what the model sees, and back."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import repeat
from pathlib import Path

import numpy as np
from jaxtyping import Int

from bert_jax.atomic import new_folder, write_file
from bert_jax.errors import UserError
from bert_jax.tokenizers.runtime import Pieces, Runtime


@dataclasses.dataclass(frozen=True)
class Encoding:
    """One text or pair as the model sees it: `[CLS] text [SEP] pair [SEP]`.

    Attributes:
      ids: token ids.
      segment_ids: 0 up to the first [SEP], 1 for the pair and its [SEP].
      tokens: the pieces.
      offsets: each piece's span of characters in its text, `(0, 0)` for [CLS] and [SEP].
      word_ids: which word of its text a piece belongs to, None for [CLS] and [SEP].
    """

    ids: list[int]
    segment_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    word_ids: list[int | None]

    @property
    def length(self) -> int:
        """How many tokens it has."""
        return len(self.ids)


class Tokenizer:
    """Token ids of texts, and texts of token ids."""

    def __init__(self, runtime: Runtime):
        """Wraps what does the splitting."""
        self.runtime = runtime
        vocab, specials = runtime.vocab, runtime.specials
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            vocab[token] for token in specials
        )
        self._tokens = {token_id: token for token, token_id in vocab.items()}

    @cached_property
    def vocab_size(self) -> int:
        """V: one more than the largest id."""
        return max(self._tokens) + 1

    @cached_property
    def hash(self) -> str:
        """sha256 of all that decides the ids."""
        digest = hashlib.sha256(json.dumps([self.runtime.type, self.runtime.rules]).encode())
        for name, content in sorted(self.runtime.files().items()):
            digest.update(name.encode() + hashlib.sha256(content).digest())
        return digest.hexdigest()

    @cached_property
    def ordinary_ids(self) -> Int[np.ndarray, " R"]:
        """Ids of real pieces, ascending: neither special nor slots for later use."""
        return np.array(sorted(self._tokens.keys() - self.runtime.reserved_ids), np.int64)

    def encode(self, text: str, pair: str | None = None, max_length: int | None = None) -> Encoding:
        """Encodes a text or a pair; special tokens in it, such as [MASK], are kept whole.

        Args:
          text: the first segment.
          pair: the second one.
          max_length: at most this many tokens, [CLS] and [SEP] included. The
            longer of the two texts is cut at its end first.

        Raises:
          UserError: a lone surrogate, or a `max_length` without room for [CLS] and [SEP].
        """
        (encoding,) = self.encode_batch([text], None if pair is None else [pair], max_length)
        return encoding

    def encode_batch(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        max_length: int | None = None,
    ) -> list[Encoding]:
        """As `encode`, for many texts at once, on all cores."""
        if pairs is not None and len(pairs) != len(texts):
            raise UserError(f"{len(texts)} texts and {len(pairs)} to pair them with")
        num_frame = 2 if pairs is None else 3
        if max_length is not None and max_length < num_frame:
            raise UserError(f"max_length is {max_length}; [CLS] and [SEP] alone take {num_frame}")
        firsts = self._split(texts)
        seconds = repeat(None) if pairs is None else self._split(pairs)
        room = None if max_length is None else max_length - num_frame
        return [
            self._framed(first, second, room)
            for first, second in zip(firsts, seconds, strict=pairs is not None)
        ]

    def _split(self, texts: Sequence[str]) -> Sequence[Pieces]:
        for text in texts:
            check_unicode(text)
        return self.runtime.split(texts, keep_specials=True)

    def _framed(self, first: Pieces, second: Pieces | None, room: int | None) -> Encoding:
        """Cut to `room`, between [CLS] and [SEP]."""
        parts = [first] if second is None else [first, second]
        lengths = [len(part.ids) for part in parts]
        if room is not None:
            lengths = _cut(lengths, room, odd_to_first=self.runtime.compat == "google")
        specials = self.runtime.specials
        encoding = Encoding([self.cls_id], [0], [specials.cls], [(0, 0)], [None])
        for segment, (part, length) in enumerate(zip(parts, lengths, strict=True)):
            encoding.ids.extend([*part.ids[:length], self.sep_id])
            encoding.segment_ids.extend([segment] * (length + 1))
            encoding.tokens.extend([*part.tokens[:length], specials.sep])
            encoding.offsets.extend([*part.offsets[:length], (0, 0)])
            encoding.word_ids.extend([*part.word_ids[:length], None])
        return encoding

    def decode(self, ids: Iterable[int | np.integer]) -> str:
        """Readable text; [CLS], [SEP] and [PAD] are left out, [MASK] and [UNK] stay.

        Ids that the vocabulary leaves out have no text.
        """
        shown = self._tokens.keys() - {self.pad_id, self.cls_id, self.sep_id}
        return self.runtime.decode([int(token_id) for token_id in ids if token_id in shown])

    def token(self, token_id: int | np.integer) -> str:
        """The piece with that id, an empty string for an id that the vocabulary leaves out."""
        return self._tokens.get(int(token_id), "")

    def files(self) -> dict[str, bytes]:
        """The files of the tokenizer folder, by name."""
        runtime = self.runtime
        config = {
            # What Hugging Face's tools make of the folder. They read Google's by its vocab.txt,
            # and are told to make segment ids, which these tools else leave out.
            "tokenizer_class": "BertTokenizer" if runtime.compat else "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            "type": runtime.type,
            **runtime.rules,
            **{
                f"{name}_token": token
                for name, token in zip(runtime.specials._fields, runtime.specials, strict=True)
            },
        }
        files = runtime.files()
        if runtime.type == "wordpiece" and "vocab.txt" not in files:
            lines = (self.token(token_id) + "\n" for token_id in range(self.vocab_size))
            files = {"vocab.txt": "".join(lines).encode(), **files}
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        return {**files, "tokenizer_config.json": text.encode()}

    def save(self, folder: str | Path) -> None:
        """Writes the tokenizer folder, atomically.

        Raises:
          UserError: the folder holds something else.
        """
        folder = Path(folder)
        check_replaceable(folder)
        files = self.files()
        with new_folder(folder) as building:
            for name, content in files.items():
                write_file(building / name, content)


_FILES = {"tokenizer.json", "spm.model", "vocab.txt", "tokenizer_config.json"}


def check_replaceable(folder: Path) -> None:
    """Refuses to write a tokenizer where something else would be lost.

    Raises:
      UserError: a file, or a folder with anything but a tokenizer in it.
    """
    if folder.is_dir():
        others = sorted(path.name for path in folder.iterdir() if path.name not in _FILES)
        if others:
            raise UserError(f"{folder} holds {others[0]}, no tokenizer; choose another folder")
    elif folder.exists():
        raise UserError(f"{folder} is a file; choose another folder")


def check_unicode(text: str) -> None:
    """Refuses a lone surrogate, half of a character, which has no UTF-8.

    Raises:
      UserError: there is one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"the text has a lone surrogate (U+{ord(text[error.start]):04X}) at character "
            f"{error.start}, which is no Unicode text; replace it, e.g. with U+FFFD"
        ) from None


def _cut(lengths: list[int], room: int, *, odd_to_first: bool) -> list[int]:
    """Lengths cut so that they fit, the longer first.

    Two that are both longer than half get half each. An odd token goes to the
    longer one, to the second if they are equal, as in Hugging Face's
    tokenizers; or always to the first, as in google-research/bert.
    """
    if sum(lengths) <= room:
        return lengths
    if len(lengths) == 1:
        return [room]
    half = room // 2
    if odd_to_first and min(lengths) > half:
        return [room - half, half]
    short = min(*lengths, half)
    long = room - short
    return [short, long] if lengths[0] <= lengths[1] else [long, short]
