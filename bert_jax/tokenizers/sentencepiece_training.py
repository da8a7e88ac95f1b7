"""SentencePiece: learning a model, its text rules in it."""

import dataclasses
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, permutations, product
from typing import Literal

import sentencepiece
from tokenizers import Regex, normalizers

from bert_jax.errors import UserError
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.sentencepiece import SPACE, SentencePieceRuntime

_ERRORS_ONLY = 2  # of the library's messages
_MAX_CHARACTERS = 1_000  # the library leaves out what has more than 4,192 bytes


def train_sentencepiece(
    words: Mapping[str, int],
    *,
    type: Literal["unigram", "sentencepiece_bpe"],
    vocab_size: int,
    rules: TextRules,
    special_tokens: Sequence[str],
    alphabet_limit: int | None,
) -> SentencePieceRuntime:
    """Learns a model that has its text rules in it.

    It depends on the arguments only, neither on the order of the words nor on the machine.
    Text rules become a table, of which the longest match is taken. So an accent stays apart
    from its letter if a deleted character, or an accent that the composed character does not
    have, stands between them; and accents keep the order in which they were typed.

    Args:
      words: text as it is written, cut at spaces, and how often each part occurs. One of
        more than 1,000 characters is cut again. A special token in one teaches nothing.
      type: the kind of model.
      vocab_size: V, with the special tokens.
      rules: what the model does to text, beside deleting control characters.
      special_tokens: the first ids. Those of `Specials`, then others that no text yields.
      alphabet_limit: so many characters at most, the most frequent ones; words with others
        teach nothing.

    Raises:
      UserError: no words, more characters than `vocab_size`, or too few distinct
        words to fill it.
    """
    normalizer = _normalizer(rules)
    if alphabet_limit is not None:
        words = _within_alphabet(words, normalizer, alphabet_limit)
    pad, unk, cls, sep, *others = special_tokens
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            # Words may hold tabs, which end them here; either is white space to the rules.
            sentence_iterator=(
                word[start : start + _MAX_CHARACTERS].replace("\t", " ") + f"\t{count}"
                for word, count in sorted(words.items())
                for start in range(0, len(word), _MAX_CHARACTERS)
            ),
            input_format="tsv",
            model_writer=model,
            minloglevel=_ERRORS_ONLY,
            normalizer=normalizer,
            model_type="bpe" if type == "sentencepiece_bpe" else type,
            # Fewer than the special tokens it does not explain.
            vocab_size=max(vocab_size, len(special_tokens)),
            character_coverage=1.0,
            num_threads=16,  # whatever the machine: sums of floats depend on it
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            pad_piece=pad,
            unk_piece=unk,
            bos_piece=cls,
            eos_piece=sep,
            control_symbols=others,
        )
    except RuntimeError as error:
        raise _explained(error, vocab_size, len(special_tokens)) from None
    return SentencePieceRuntime(model.getvalue(), Specials(*special_tokens[:5])._asdict())


def _explained(error: RuntimeError, vocab_size: int, num_special_tokens: int) -> Exception:
    """What the user can do about the library's error; itself, if nothing."""
    text = str(error)
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", text):
        return UserError(
            f"vocab_size {vocab_size} is too small: the text has "
            f"{int(least[1]) - num_special_tokens} different characters, the space among them, "
            f"so it takes at least {least[1]}"
        )
    most = re.search(r"too high \(\d+\)\. Please set it to a value <= (\d+)", text)
    if most and int(most[1]) > num_special_tokens + 1:  # more than the space
        return UserError(
            f"vocab_size {vocab_size} is more than this text supports: it gives {most[1]} pieces; "
            "ask for no more than that, or add text"
        )
    if most or "!sentences_.empty()" in text or "all_chars_count" in text:
        return UserError("the text holds no word to learn a vocabulary from; check the source")
    return error


def _within_alphabet(
    words: Mapping[str, int], normalizer: sentencepiece.SentencePieceNormalizer, limit: int
) -> dict[str, int]:
    """The words of the most frequent characters, ties broken by code point."""
    normalized = dict(zip(words, normalizer.normalize(list(words)), strict=True))
    counts: Counter[str] = Counter()
    for word, text in normalized.items():
        for character in text.replace(SPACE, ""):
            counts[character] += words[word]
    kept = sorted(counts, key=lambda character: (-counts[character], character))[:limit]
    alphabet = {SPACE, *kept}
    return {word: words[word] for word, text in normalized.items() if alphabet.issuperset(text)}


@lru_cache(maxsize=1)
def _normalizer(rules: TextRules) -> sentencepiece.SentencePieceNormalizer:
    """The rules as a table. By the `tokenizers` library, so that any Python makes the same."""
    normalize = normalizers.Sequence(
        [
            normalizers.Replace(Regex(rf"[\t\n\r\p{{Z}}{SPACE}]"), " "),
            normalizers.Replace(Regex(r"[\p{Cc}\p{Cf}\x{FFFD}]"), ""),
            rules.plain(),
        ]
    ).normalize_str
    sources = set(_characters())
    if rules.unicode_form in ("nfc", "nfkc") and not rules.strip_accents:
        sources.update(_spellings(dataclasses.replace(rules, lowercase=False).plain()))
    table = [(source, normalize(source)) for source in sorted(sources)]
    sentencepiece.set_min_log_level(_ERRORS_ONLY)
    return sentencepiece.SentencePieceNormalizer(
        norm_map=[(source, target) for source, target in table if source != target]
    )


def _spellings(form: normalizers.Normalizer) -> Iterator[str]:
    """All sequences that the form composes to one character.

    `ậ` is `a` and two marks in either order, or `ạ` or `â` and one mark. With NFKC, each
    of them may be of another width or style.
    """
    alike: dict[str, list[str]] = {}  # by what the form makes of them
    for character in _characters():
        alike.setdefault(form.normalize_str(character), []).append(character)
    decompose = normalizers.NFD().normalize_str
    for composed in [made for made in alike if len(made) == 1]:
        base, *marks = list(decompose(composed))
        for order in permutations(marks):
            for taken in range(len(marks)):
                first = form.normalize_str(base + "".join(order[:taken]))
                rest = order[taken:]
                if form.normalize_str(first + "".join(rest)) == composed:
                    choices = [alike.get(part, []) for part in (first, *rest)]
                    yield from map("".join, product(*choices))


def _characters() -> Iterator[str]:
    """Those that a rule may change: all but NUL, which no table can hold, and most ideographs."""
    compatible, tags = range(0x2F800, 0x2FA20), range(0xE0000, 0xE0080)
    return map(chr, chain(range(1, 0xD800), range(0xE000, 0x20000), compatible, tags))
