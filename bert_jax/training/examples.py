"""A few held-out sentences with a word hidden, and what the model makes of them."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from bert_jax.console import Console
from bert_jax.data.corpus import Corpus
from bert_jax.pretrained import Pretrained

_MIN_TOKENS, _MAX_TOKENS = 8, 24  # long enough for a context, short enough for a line
# A word of content more often than not; a syllable block of Hangul or a Han character says more.
_MIN_LETTERS, _MIN_WIDE_LETTERS = 4, 2


def show_examples(
    console: Console, bert: Pretrained, corpus: Corpus, *, max_tokens: int, count: int = 5
) -> None:
    """Prints sentences with one word masked, the truth and the three best guesses.

    Args:
      console: where to.
      bert: the model.
      corpus: what it was trained on a part of.
      max_tokens: longest sentence, without [CLS] and [SEP]; positions beyond what the model was
        trained on mean nothing.
      count: how many.
    """
    candidates = list(_masked_sentences(bert, corpus, min(max_tokens, _MAX_TOKENS)))
    spread = np.linspace(0, len(candidates), count, endpoint=False).astype(int)
    shown = [candidates[number] for number in spread] if len(candidates) > count else candidates
    if not shown:
        console.say("no held-out sentence is fit for a fill-mask example")
        return
    console.say("fill-mask on held-out sentences")
    for ids, position in shown:
        hidden = ids.copy()
        hidden[position] = bert.tokenizer.mask_id
        guesses = bert.fill_mask_ids(hidden.tolist(), top_k=3)[0]
        console.say(f"  {bert.tokenizer.decode(hidden)}")
        console.say(
            f"    hidden: {bert.tokenizer.token(ids[position])}; guesses: "
            + ", ".join(f"{guess.token} {guess.probability:.0%}" for guess in guesses)
        )
    console.say()


def _masked_sentences(
    bert: Pretrained, corpus: Corpus, max_tokens: int
) -> Iterator[tuple[Int[np.ndarray, " T"], int]]:
    """Held-out sentences between [CLS] and [SEP], with the middle one of their whole words."""
    tokenizer = bert.tokenizer
    starts, documents = corpus.sentences.offsets, corpus.sentences.documents
    for document in corpus.held_out_documents:
        for sentence in range(documents[document], documents[document + 1]):
            length = starts[sentence + 1] - starts[sentence]
            if not _MIN_TOKENS <= length <= max_tokens:
                continue
            ids, continues = corpus.read(np.arange(starts[sentence], starts[sentence + 1])[None])
            # A word of one piece: it continues nothing and nothing continues it.
            whole = ~continues[0] & ~np.append(continues[0, 1:], False)
            words = [
                int(place)
                for place in np.flatnonzero(whole)
                if (token := tokenizer.token(ids[0, place])).isalpha()
                and len(token) >= (_MIN_LETTERS if token.isascii() else _MIN_WIDE_LETTERS)
            ]
            if words:
                framed = np.concatenate([[tokenizer.cls_id], ids[0], [tokenizer.sep_id]])
                yield framed, words[len(words) // 2] + 1
