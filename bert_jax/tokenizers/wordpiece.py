"""WordPiece: its rules, and training a vocabulary of it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from bert_jax.errors import UserError
from bert_jax.tokenizers.files import SPECIAL_TOKENS, Tokenizer
from bert_jax.tokenizers.merges import learn_merges

CONTINUATION = "##"
MAX_WORD_CHARACTERS = 100  # longer words are [UNK], as in Hugging Face's tokenizers


def wordpiece_tokenizer(vocab: Sequence[str], *, lowercase: bool, strip_accents: bool) -> Tokenizer:
    """A WordPiece tokenizer with this vocabulary, ids in its order.

    Args:
      vocab: the pieces, special tokens included.
      lowercase: lower-case the text.
      strip_accents: drop accents. A switch of its own: it takes Korean
        syllables apart and changes Japanese and Hindi words.
    """
    ids = {piece: number for number, piece in enumerate(vocab)}
    runtime = tokenizers.Tokenizer(
        models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD_CHARACTERS)
    )
    runtime.normalizer, runtime.pre_tokenizer = _text_rules(lowercase, strip_accents)
    runtime.post_processor = processors.BertProcessing(
        ("[SEP]", ids.get("[SEP]", 0)), ("[CLS]", ids.get("[CLS]", 0))
    )
    runtime.decoder = decoders.WordPiece(prefix=CONTINUATION)
    runtime.add_special_tokens([token for token in SPECIAL_TOKENS if token in ids])
    return Tokenizer(runtime)


def train_wordpiece(
    words: Mapping[str, int],
    *,
    vocab_size: int,
    lowercase: bool,
    strip_accents: bool,
    on_pieces: Callable[[int], object] = lambda _: None,
) -> Tokenizer:
    """Learns a vocabulary by merging the most frequent pair of pieces.

    Deterministic: it depends on the words only. (The trainer of the `tokenizers`
    library gives another vocabulary on every run.)

    Args:
      words: how often each word occurs, see `count_words`.
      vocab_size: V, with the special tokens.
      lowercase: see `wordpiece_tokenizer`.
      strip_accents: see `wordpiece_tokenizer`.
      on_pieces: told how many more pieces there are.

    Raises:
      UserError: no words, more characters than `vocab_size`, or too few distinct
        words to fill it.
    """
    if not words:
        raise UserError("the text holds no word to learn a vocabulary from; check data.source")
    spelled = {
        (word[0], *(CONTINUATION + character for character in word[1:])): count
        for word, count in sorted(words.items())
        if len(word) <= MAX_WORD_CHARACTERS
    }
    alphabet = sorted({piece for word in spelled for piece in word})
    room = vocab_size - len(SPECIAL_TOKENS)
    if len(alphabet) > room:
        raise UserError(
            f"tokenizer.vocab_size {vocab_size} is too small: the text has {len(alphabet)} "
            f"different characters, so it takes at least {len(alphabet) + len(SPECIAL_TOKENS)}"
        )
    on_pieces(len(SPECIAL_TOKENS) + len(alphabet))
    pieces = learn_merges(
        spelled,
        alphabet,
        num_symbols=room,
        join=lambda left, right: left + right.removeprefix(CONTINUATION),
        on_symbol=lambda: on_pieces(1),
    )
    if len(pieces) < room:
        raise UserError(
            f"tokenizer.vocab_size {vocab_size} is more than this text supports: it gives "
            f"{len(pieces) + len(SPECIAL_TOKENS)} pieces; ask for no more than that, or add text"
        )
    return wordpiece_tokenizer(
        [*SPECIAL_TOKENS, *pieces], lowercase=lowercase, strip_accents=strip_accents
    )


def count_words(texts: Iterable[str], *, lowercase: bool, strip_accents: bool) -> Counter[str]:
    """How often each word occurs, after normalisation and splitting at punctuation."""
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(text.split())
    # No rule looks past white space, so each distinct chunk needs to be taken apart once only.
    normalizer, splitter = _text_rules(lowercase, strip_accents)
    words: Counter[str] = Counter()
    for chunk, count in chunks.items():
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(chunk)):
            words[word] += count
    return words


def _text_rules(
    lowercase: bool, strip_accents: bool
) -> tuple[normalizers.Normalizer, pre_tokenizers.PreTokenizer]:
    """BERT's text rules on composed characters (NFC), which keeps Korean syllables whole."""
    normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.BertNormalizer(
                clean_text=True,
                handle_chinese_chars=True,
                strip_accents=strip_accents,
                lowercase=lowercase,
            ),
        ]
    )
    return normalizer, pre_tokenizers.BertPreTokenizer()
