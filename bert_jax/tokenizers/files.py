"""One `Tokenizer`, one folder.

The folder holds `tokenizer.json` (Hugging Face's format, which has everything),
`vocab.txt` and `tokenizer_config.json` (what other tools look for). The runtime
is the `tokenizers` library; nothing outside this package knows that.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import tokenizers
from jaxtyping import Int

from bert_jax.atomic import new_folder, write_file
from bert_jax.errors import UserError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


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


class Tokenizer:
    """Token ids of texts, and texts of token ids."""

    def __init__(self, runtime: tokenizers.Tokenizer):
        """Wraps a runtime that knows the five special tokens.

        Raises:
          UserError: a special token is missing.
        """
        # A published folder may cut to 128 tokens and fill up to them.
        runtime.no_truncation()
        runtime.no_padding()
        self._runtime = runtime
        # Running text may contain "[MASK]"; in a corpus those are ordinary characters.
        self._corpus_runtime = tokenizers.Tokenizer.from_str(runtime.to_str())
        self._corpus_runtime.encode_special_tokens = True
        missing = [token for token in SPECIAL_TOKENS if runtime.token_to_id(token) is None]
        if missing:
            raise UserError(
                f"the vocabulary lacks {', '.join(missing)}, which BERT cannot do without"
            )
        vocab = runtime.get_vocab()
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            vocab[token] for token in SPECIAL_TOKENS
        )

    @property
    def vocab_size(self) -> int:
        """V: one more than the largest id."""
        return max(self._runtime.get_vocab().values()) + 1

    @cached_property
    def hash(self) -> str:
        """sha256 of all that decides the ids."""
        return hashlib.sha256(self._runtime.to_str().encode()).hexdigest()

    @cached_property
    def ordinary_ids(self) -> Int[np.ndarray, " R"]:
        """Ids of real pieces, ascending: neither special nor `[unusedN]` slots."""
        return np.array(
            sorted(
                token_id
                for token, token_id in self._runtime.get_vocab().items()
                if token not in SPECIAL_TOKENS and not token.startswith("[unused")
            )
        )

    def encode(self, text: str, pair: str | None = None) -> Encoding:
        """Encodes a text or a pair; special tokens in it, such as [MASK], are kept whole."""
        encoded = self._runtime.encode(text, pair)
        return Encoding(
            encoded.ids, encoded.type_ids, encoded.tokens, encoded.offsets, encoded.word_ids
        )

    def encode_corpus(self, sentences: Sequence[str]) -> list[tuple[list[int], list[bool]]]:
        """Ids without [CLS] and [SEP], and which of them continue the word before, on all cores.

        A literal "[MASK]" or "[SEP]" in a sentence is ordinary text.
        """
        encodings = self._corpus_runtime.encode_batch(sentences, add_special_tokens=False)
        return [
            (
                encoding.ids,
                [before == word for before, word in pairwise([None, *encoding.word_ids])],
            )
            for encoding in encodings
        ]

    def decode(self, ids: Iterable[int | np.integer]) -> str:
        """Readable text; [CLS], [SEP] and [PAD] are left out, [MASK] and [UNK] stay."""
        silent = {self.pad_id, self.cls_id, self.sep_id}
        kept = [int(token_id) for token_id in ids if token_id not in silent]
        return self._runtime.decode(kept, skip_special_tokens=False)

    def token(self, token_id: int | np.integer) -> str:
        """The piece with that id, an empty string for an id that the vocabulary leaves out."""
        return self._runtime.id_to_token(int(token_id)) or ""

    def save(self, folder: Path) -> None:
        """Writes the tokenizer folder, atomically."""
        vocab = self._runtime.get_vocab()
        pieces = sorted(vocab, key=vocab.__getitem__)
        config = {"tokenizer_class": "PreTrainedTokenizerFast"} | {
            f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS
        }
        with new_folder(folder) as building:
            self._runtime.save(str(building / "tokenizer.json"))
            write_file(building / "vocab.txt", "".join(f"{piece}\n" for piece in pieces))
            write_file(building / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Reads a tokenizer folder.

    Raises:
      UserError: no `tokenizer.json` there, or not one that can be read.
    """
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no tokenizer (tokenizer.json is missing)")
    try:
        runtime = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise UserError(f"{path} is not a tokenizer ({error})") from None
    return Tokenizer(runtime)
