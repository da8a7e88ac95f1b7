"""`Pretrained`: what a user holds in hand. Each method is told at length in its own file."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, PyTree

from bert_jax.errors import TextError, UserError
from bert_jax.interop.folders import Format, write_folder
from bert_jax.interop.naming import Report
from bert_jax.interop.settings import TASK_FILE
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.labels import Labels
from bert_jax.model.sizes import BertConfig
from bert_jax.pretrained import cloze, features, prediction, vectors
from bert_jax.pretrained.cloze import Likelihood, Prediction
from bert_jax.pretrained.features import Attention, Features
from bert_jax.pretrained.network import Network
from bert_jax.pretrained.next_sentence import next_sentence
from bert_jax.pretrained.outputs import Outputs
from bert_jax.pretrained.rows import Row, row_of
from bert_jax.pretrained.vectors import Layers, WordVector, layer_mix
from bert_jax.tasks import kinds
from bert_jax.tokenizers import Encoding, Tokenizer

_log = logging.getLogger(__name__)

# A model from pretraining, all of it trained.
PRETRAINING = frozenset({"pooler", "predictions", "seq_relationship"})


class Pretrained:
    """A model with its parameters and its tokenizer.

    Examples:
      >>> import bert_jax
      >>> bert = bert_jax.load("models/small")
      >>> bert.config.width, bert.config.num_layers, bert.tokenizer.vocab_size
      (32, 2, 200)
    """

    def __init__(
        self,
        model: BertForPreTraining,
        params: PyTree,
        tokenizer: Tokenizer | None,
        *,
        parts: frozenset[str] = PRETRAINING,
        labels: Labels | None = None,
        report: Report | None = None,
        tokenizer_problem: str = "the model has no tokenizer",
        extras: Mapping[str, bytes] = MappingProxyType({}),
    ):
        """Wraps what `load` read, or what training has in hand.

        Args:
          model: the model.
          params: its parameters, complete, and those of a classifier under "classifier".
          tokenizer: None for one who brings ids.
          parts: which of pooler, predictions, seq_relationship, classifier were trained.
          labels: of the classifier.
          report: what became of every tensor of the folder.
          tokenizer_problem: why there is no tokenizer.
          extras: files that `save` hands on, by their paths.
        """
        self.model = model
        self.params = params
        self._tokenizer = tokenizer
        self.parts = parts
        self.labels = labels
        self.report = report or Report()
        self._tokenizer_problem = tokenizer_problem
        self._extras = extras
        self.task_file = extras.get(TASK_FILE)
        self.network = Network(model.config, params, parts, labels)

    @property
    def config(self) -> BertConfig:
        """Of the model."""
        return self.model.config

    @property
    def has_tokenizer(self) -> bool:
        """Whether it takes texts."""
        return self._tokenizer is not None

    @property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary that the model was trained with.

        Raises:
          UserError: its folder had none.
        """
        if self._tokenizer is None:
            raise UserError(self._tokenizer_problem)
        return self._tokenizer

    def save(self, folder: str | Path, layout: Format = "huggingface") -> None:
        """Writes a folder for other programs: "huggingface" or "google".

        Args:
          folder: empty or not there. It appears when it is whole.
          layout: whose.

        Raises:
          UserError: the place is taken, or the format cannot express the model.
        """
        write_folder(
            Path(folder),
            layout,
            config=self.config,
            params=self.params,
            parts=self.parts,
            labels=self.labels,
            tokenizer=self._tokenizer,
            extras=self._extras,
        )

    def forward(
        self,
        input_ids: Any,
        segment_ids: Any = None,
        lengths: Any = None,
        attentions: bool = False,
    ) -> Outputs:
        """All that the model makes of ids: NumPy in, NumPy out, float32.

        Args:
          input_ids: [B T], all in the vocabulary.
          segment_ids: [B T], 0 or 1; 0 everywhere if not given.
          lengths: [B], real tokens of each row, padding follows them; T if not given.
          attentions: whether to return these too.

        Raises:
          UserError: shapes that do not fit, an id that is not in the vocabulary, rows
            longer than the model takes.

        Examples:
          >>> outputs = bert.forward([[2, 30, 31, 3], [2, 30, 3, 0]], lengths=[4, 3])
          >>> outputs.hidden_states.shape, outputs.mlm_logits.shape, outputs.nsp_logits.shape
          ((3, 2, 4, 32), (2, 4, 200), (2, 2))
        """
        return self.network.forward(input_ids, segment_ids, lengths, attentions=attentions)

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Features:
        """Vectors of every token at every layer, and the attentions, of a few texts.

        Raises:
          UserError: a text longer than the model takes; see `embed` and `words` for many
            or long ones.

        Examples:
          >>> features = bert.encode(["I love Paris", "It was a great day"])
          >>> features.tokens[0][0], features.layers.shape[0], features.mean.shape
          ('[CLS]', 3, (2, 32))
        """
        encodings = self._fitting(_list(texts), None if pairs is None else _list(pairs))
        return features.encode(self.network, self.tokenizer.pad_id, encodings)

    def embed(
        self,
        texts: Sequence[str],
        *,
        pooling: str = "mean",
        layers: Layers = -1,
        mix: str | None = None,
        normalize: bool = False,
        too_long: str = "truncate",
    ) -> Float[np.ndarray, "n ..."]:
        """A vector of each text, in batches of similar lengths.

        Args:
          texts: any number that fits into memory; an empty one has a vector too.
          pooling: "mean" over the real tokens, [CLS] and [SEP] among them, "max" of
            them, "cls", or "pooled" (the pooler's output; `layers` is not looked at).
          layers: one, several or "all"; 0 is the embeddings, -1 the last.
          mix: of several layers: "sum", "mean", "concat"; None keeps them apart.
          normalize: to length 1.
          too_long: what becomes of a text that is longer than the model: "truncate"
            (with a warning), "window" (read part by part, then joined) or "error".

        Returns:
          [n D], for several layers [n K D], for "concat" [n K·D].

        Raises:
          UserError: an argument is unknown, or a text too long and that is an error.

        Examples:
          >>> bert.embed(["I love Paris", "I hate it"]).shape
          (2, 32)
          >>> bert.embed(["I love Paris"], layers=[-2, -1], mix="concat").shape
          (1, 64)
        """
        encodings = self.tokenizer.encode_batch(_list(texts))
        tokens = layer_mix(layers, mix, self.config.num_layers)
        found, num_cut = vectors.sentence_vectors(
            self.network,
            self.tokenizer,
            encodings,
            tokens=tokens,
            pooling=pooling,
            normalize=normalize,
            too_long=too_long,
        )
        self._warn_of_cut(num_cut)
        return found

    def words(
        self,
        texts: Sequence[str],
        *,
        layers: Layers = -1,
        mix: str | None = None,
        pieces: str = "mean",
        too_long: str = "truncate",
    ) -> list[list[WordVector]]:
        """The vectors of the words of each text.

        Args:
          texts: as for `embed`.
          layers: as for `embed`.
          mix: as for `embed`.
          pieces: a word's vector is the "mean" of its pieces' vectors, or the "first".
          too_long: as for `embed`.

        Raises:
          UserError: as `embed` does.

        Examples:
          >>> [(word.word, word.vector.shape) for word in bert.words(["I love Paris"])[0]]
          [('I', (32,)), ('love', (32,)), ('Paris', (32,))]
        """
        texts = _list(texts)
        found, num_cut = vectors.word_vectors(
            self.network,
            self.tokenizer,
            texts,
            self.tokenizer.encode_batch(texts),
            tokens=layer_mix(layers, mix, self.config.num_layers),
            pieces=pieces,
            too_long=too_long,
        )
        self._warn_of_cut(num_cut)
        return found

    def _warn_of_cut(self, num_cut: int) -> None:
        if num_cut:
            most = self.config.max_positions
            _log.warning("%d of the texts were cut to the model's %d tokens", num_cut, most)

    def fill_mask(
        self, text: str, *, top_k: int | None = None, targets: Sequence[str] | None = None
    ) -> list[list[Prediction]]:
        """The likeliest tokens for each [MASK] of a text, best first.

        Args:
          text: with one [MASK] or several; each is guessed with the others hidden.
          top_k: how many; if not given, 5, or all targets.
          targets: only these; the probabilities stay those among all tokens.

        Raises:
          UserError: no [MASK], a text longer than the model, a target of several
            pieces, or a model without a masked-word head.

        Examples:
          >>> (guesses,) = bert.fill_mask("Paris is the [MASK] of France.", top_k=3)
          >>> len(guesses), guesses[0].probability >= guesses[1].probability
          (3, True)
        """
        return self.fill_masks([text], top_k=top_k, targets=targets)[0]

    def fill_masks(
        self,
        texts: Sequence[str],
        *,
        top_k: int | None = None,
        targets: Sequence[str] | None = None,
    ) -> list[list[list[Prediction]]]:
        """As `fill_mask`, for many texts."""
        rows = [row_of(encoding) for encoding in self._fitting(_list(texts))]
        targets = None if targets is None else _list(targets)
        return cloze.fill_mask(self.network, self.tokenizer, rows, top_k=top_k, targets=targets)

    def fill_mask_ids(self, ids: Sequence[int], *, top_k: int) -> list[list[Prediction]]:
        """As `fill_mask`, for a text encoded already."""
        row = Row(ids, [0] * len(ids))
        return cloze.fill_mask(self.network, self.tokenizer, [row], top_k=top_k, targets=None)[0]

    def next_sentence(self, pairs: Sequence[tuple[str, str]]) -> Float[np.ndarray, " n"]:
        """How probable it is that the second text of each pair follows the first.

        Pairs longer than the model are cut at their ends, the longer text first, with a warning.

        Raises:
          UserError: a model without a next-sentence head or without segments.

        Examples:
          >>> bert.next_sentence([("She cooked pasta.", "It was delicious.")]).shape
          (1,)
        """
        found, num_cut = next_sentence(self.network, self.tokenizer, pairs)
        self._warn_of_cut(num_cut)
        return found

    def pseudo_log_likelihood(self, texts: Sequence[str]) -> list[Likelihood]:
        """How likely each text is: every token masked in turn (Salazar et al. 2020).

        Raises:
          UserError: a text longer than the model, or a model without a masked-word head.

        Examples:
          >>> (likelihood,) = bert.pseudo_log_likelihood(["I love Paris"])
          >>> likelihood.total < 0, likelihood.perplexity > 1
          (True, True)
        """
        rows = [row_of(encoding) for encoding in self._fitting(_list(texts))]
        return cloze.pseudo_log_likelihood(self.network, self.tokenizer, rows)

    def attentions(
        self,
        text: str,
        pair: str | None = None,
        *,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
    ) -> Attention:
        """Where each token of a text looks.

        Args:
          text: the first segment.
          pair: the second one.
          layers: those wanted, from 0 (here the first layer, for embeddings have no
            attention) to L - 1; all if not given.
          heads: those wanted, from 0 to N - 1; all if not given.

        Raises:
          UserError: a layer or head that the model does not have, or a text longer than it.

        Examples:
          >>> attention = bert.attentions("I love Paris", layers=[0], heads=[0, 1])
          >>> attention.weights.shape[:2], bool(abs(attention.weights.sum(-1) - 1).max() < 1e-5)
          ((1, 2), True)
        """
        (encoding,) = self._fitting([text], None if pair is None else [pair])
        return features.attentions(self.network, encoding, layers=layers, heads=heads)

    def predict(
        self, records: Sequence[Any], *, fields: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """What a fine-tuned model says of each record, ready for JSON.

        Args:
          records: a text each, or a pair of texts, or a mapping with texts by their names.
          fields: these names, if they are others than in training.

        Returns:
          What each record says, and `label` with its `score` (a probability), or `value`, or
          `answer` with `score`, `start` and `end` (characters), or `entities` with these each.

        Raises:
          UserError: a model without such a head, or a record without its texts.

        Examples:
          >>> import bert_jax
          >>> sentiment = bert_jax.load("models/sentiment")
          >>> sorted(sentiment.predict(["I love Paris"])[0])
          ['label', 'score', 'sentence']
        """
        num_texts = len(fields) if fields else None
        task = kinds.task_of(self.labels, self.task_file, num_texts=num_texts)
        return prediction.predict(self.network, self.tokenizer, task, records, fields)

    def _fitting(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Encoding]:
        """Encodings of texts that the model takes whole."""
        encodings = self.tokenizer.encode_batch(texts, pairs)
        most = self.config.max_positions
        for number, encoding in enumerate(encodings):
            if encoding.length > most:
                reason = f"the text has {encoding.length} tokens, the model takes {most}; cut it"
                raise TextError(reason, number=number, num_texts=len(encodings))
        return encodings


def _list(texts: Sequence[str]) -> list[str]:
    """The texts; a single string would be read as its characters.

    Raises:
      UserError: it is one.
    """
    if isinstance(texts, str):
        raise UserError("texts is one string; give a list of them")
    return list(texts)
