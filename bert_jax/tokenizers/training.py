"""Training a vocabulary of any family from counted words."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

from tokenizers import normalizers, pre_tokenizers

from bert_jax.errors import UserError
from bert_jax.tokenizers.merges import Learned, Score, learn_merges
from bert_jax.tokenizers.normalize import TextRules, UnicodeForm
from bert_jax.tokenizers.runtime import Cut, Specials
from bert_jax.tokenizers.sentencepiece_training import train_sentencepiece
from bert_jax.tokenizers.subwords import (
    CONTINUATION,
    MAX_WORDPIECE_CHARACTERS,
    bpe_runtime,
    byte_alphabet,
    byte_bpe_runtime,
    wordpiece_runtime,
)
from bert_jax.tokenizers.tokenizer import Tokenizer

Type = Literal["wordpiece", "bpe", "byte_bpe", "unigram", "sentencepiece_bpe"]
TYPES: tuple[Type, ...] = get_args(Type)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train a vocabulary.

    Attributes:
      type: `wordpiece`; `bpe` and `byte_bpe`, of characters and of UTF-8 bytes;
        `unigram` and `sentencepiece_bpe`, by SentencePiece.
      vocab_size: V, with the special tokens.
      score: which pair WordPiece joins next: the most `frequency`, or the
        highest `likelihood` gain, p(ab) / (p(a) p(b)).
      min_frequency: a pair that occurs less often is never joined.
      alphabet_limit: so many characters at most, the most frequent ones; words
        with others teach nothing.
      num_unused: slots `[unused0]`, `[unused1]`, … for later use.
      special_tokens: further ones, beside BERT's five.
      lowercase: lower-case the text. None is True, but for `byte_bpe` False.
      strip_accents: drop accents; never for Korean.
      unicode_form: see `TextRules`. None is NFC, but for `byte_bpe` as written:
        its decoding gives back any text.
      continuation_prefix: what pieces inside a word begin with, in `bpe`.
    """

    type: Type = "wordpiece"
    vocab_size: int
    score: Score = "frequency"
    min_frequency: int = 1
    alphabet_limit: int | None = None
    num_unused: int = 0
    special_tokens: Sequence[str] = ()
    lowercase: bool | None = None
    strip_accents: bool = False
    unicode_form: UnicodeForm | None = None
    continuation_prefix: str = ""

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("type", self.type, TYPES),
            ("score", self.score, get_args(Score)),
            ("unicode_form", self.unicode_form or "none", get_args(UnicodeForm)),
        ):
            if value not in choices:
                raise UserError(f"{name} is {value!r}; choose from {', '.join(choices)}")
        for name, least in (("vocab_size", 1), ("min_frequency", 1), ("num_unused", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.alphabet_limit is not None and self.alphabet_limit < 1:
            raise UserError(f"alphabet_limit is {self.alphabet_limit}; it must be at least 1")
        if self.vocab_size >= 1 << 31:
            raise UserError(f"vocab_size is {self.vocab_size}; ids are 32 bits wide")
        if self.num_unused >= self.vocab_size:
            raise UserError(f"{self.num_unused} unused slots leave no room in {self.vocab_size}")
        self._check_family()
        self._check_texts()

    def _check_family(self) -> None:
        """Refuses what the family has no use for."""
        if self.score != "frequency" and self.type != "wordpiece":
            raise UserError(f"score is a choice of wordpiece; {self.type} goes by its own rule")
        if self.continuation_prefix and self.type != "bpe":
            raise UserError(f"continuation_prefix is a choice of bpe, not of {self.type}")
        if self.min_frequency > 1 and self.type in ("unigram", "sentencepiece_bpe"):
            raise UserError(f"SentencePiece knows no min_frequency; leave it out for {self.type}")
        if self.alphabet_limit is not None and self.type == "byte_bpe":
            raise UserError("the alphabet of byte_bpe is the 256 bytes; leave out alphabet_limit")

    def _check_texts(self) -> None:
        """Refuses texts that no vocabulary can hold."""
        for token, count in Counter(self.all_special_tokens).items():
            # One with white space would be two lines, or none, of a vocab.txt.
            if count > 1 or not token or not token.isprintable() or " " in token:
                raise UserError(f"special token {token!r} is repeated, empty or not printable")
        prefix = self.continuation_prefix
        if not prefix.isprintable() or any(map(str.isalnum, prefix)) or " " in prefix:
            raise UserError(f"continuation_prefix is {prefix!r}; use marks alone, such as ##")

    @property
    def cut(self) -> Cut:
        """Where text may be cut without changing its words."""
        return "ideographs" if self.type in ("wordpiece", "bpe") else "spaces"

    @property
    def rules(self) -> TextRules:
        """What is done to text first."""
        as_written = self.type == "byte_bpe"
        return TextRules(
            lowercase=not as_written if self.lowercase is None else self.lowercase,
            strip_accents=self.strip_accents,
            unicode_form=self.unicode_form or ("none" if as_written else "nfc"),
        )

    @property
    def all_special_tokens(self) -> list[str]:
        """The first ids: BERT's five, further ones, slots."""
        unused = (f"[unused{number}]" for number in range(self.num_unused))
        return [*Specials(), *self.special_tokens, *unused]


def train_tokenizer(
    chunks: Mapping[str, int], recipe: Recipe, on_pieces: Callable[[int], object] = lambda _: None
) -> Tokenizer:
    """Learns a vocabulary; it depends on nothing but the arguments.

    Args:
      chunks: text, cut where that changes no word, and how often each occurs;
        see `count_chunks`.
      recipe: what to learn.
      on_pieces: told how many more pieces there are.

    Raises:
      UserError: no words, more characters than `vocab_size`, or too few distinct
        words to fill it.
    """
    if recipe.type in ("unigram", "sentencepiece_bpe"):
        runtime = train_sentencepiece(
            chunks,
            type=recipe.type,
            vocab_size=recipe.vocab_size,
            rules=recipe.rules,
            special_tokens=recipe.all_special_tokens,
            alphabet_limit=recipe.alphabet_limit,
        )
        on_pieces(recipe.vocab_size)
        return Tokenizer(runtime)
    special_tokens = recipe.all_special_tokens
    if recipe.type == "byte_bpe":
        normalizer = recipe.rules.plain()
        words = count_words(chunks, normalizer, pre_tokenizers.ByteLevel(add_prefix_space=False))
        vocab, merges = _learn(words, recipe, byte_alphabet(), on_pieces)
        return Tokenizer(byte_bpe_runtime(vocab, merges, normalizer, special_tokens))
    normalizer = recipe.rules.bert()
    words = count_words(chunks, normalizer, pre_tokenizers.BertPreTokenizer())
    if recipe.type == "wordpiece":
        words = {w: n for w, n in words.items() if len(w) <= MAX_WORDPIECE_CHARACTERS}
        vocab, _ = _learn(words, recipe, None, on_pieces, prefix=CONTINUATION)
        return Tokenizer(wordpiece_runtime(vocab, normalizer, special_tokens))
    prefix = recipe.continuation_prefix
    vocab, merges = _learn(words, recipe, None, on_pieces, prefix=prefix)
    return Tokenizer(
        bpe_runtime(vocab, merges, normalizer, special_tokens, continuation_prefix=prefix)
    )


def count_words(
    chunks: Mapping[str, int],
    normalizer: normalizers.Normalizer,
    splitter: pre_tokenizers.PreTokenizer,
) -> dict[str, int]:
    """How often each word occurs, after normalisation and splitting, sorted."""
    words: Counter[str] = Counter()
    for chunk, count in chunks.items():
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(chunk)):
            words[word] += count
    return dict(sorted(words.items()))


def _learn(
    words: Mapping[str, int],
    recipe: Recipe,
    alphabet: Sequence[str] | None,
    on_pieces: Callable[[int], object],
    *,
    prefix: str = "",
) -> Learned:
    """The whole vocabulary, special tokens first, and the merges that made it.

    `prefix` is what symbols inside a word begin with.
    """
    if not words:
        raise UserError("the text holds no word to learn a vocabulary from; check the source")
    if recipe.alphabet_limit is not None:
        words = _within_alphabet(words, recipe.alphabet_limit)
    spelled = {
        (word[0], *(prefix + character for character in word[1:])): count
        for word, count in words.items()
    }
    if alphabet is None:
        alphabet = sorted({symbol for word in spelled for symbol in word})
    special_tokens = recipe.all_special_tokens
    room = recipe.vocab_size - len(special_tokens)
    if len(alphabet) > room:
        raise UserError(
            f"vocab_size {recipe.vocab_size} is too small: there are {len(alphabet)} different "
            f"characters and {len(special_tokens)} special tokens, so it takes at least "
            f"{len(alphabet) + len(special_tokens)}"
        )
    on_pieces(len(special_tokens) + len(alphabet))
    symbols, merges = learn_merges(
        spelled,
        alphabet,
        num_symbols=room,
        score=recipe.score,
        min_frequency=recipe.min_frequency,
        join=lambda left, right: left + right.removeprefix(prefix),
        on_symbol=lambda: on_pieces(1),
    )
    if len(symbols) < room:
        raise UserError(
            f"vocab_size {recipe.vocab_size} is more than this text supports: it gives "
            f"{len(symbols) + len(special_tokens)} pieces; ask for no more than that, or add text"
        )
    if twice := set(special_tokens).intersection(symbols):
        raise UserError(
            f"the special token {min(twice)!r} is also a piece of the text's words; write it so "
            "that no word can hold it, such as [NAME]"
        )
    return Learned([*special_tokens, *symbols], merges)


def _within_alphabet(words: Mapping[str, int], limit: int) -> dict[str, int]:
    """The words of the most frequent characters, ties broken by code point."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    kept = set(sorted(counts, key=lambda character: (-counts[character], character))[:limit])
    return {word: count for word, count in words.items() if kept.issuperset(word)}
