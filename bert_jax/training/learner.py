"""A model that learns a task: how it begins, how good it is, how it is kept."""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from bert_jax.errors import UserError
from bert_jax.interop.settings import TASK_FILE
from bert_jax.model.encoder import initializer
from bert_jax.model.heads import BertForPreTraining, BertForTask
from bert_jax.model.labels import Labels
from bert_jax.model.sizes import BertConfig
from bert_jax.pretrained import Pretrained
from bert_jax.pretrained.network import Network
from bert_jax.pretrained.prediction import task_scores
from bert_jax.tasks import kinds
from bert_jax.tasks.task import Evaluation, Task
from bert_jax.training.parallel import on_one_device
from bert_jax.training.rng import Stream, stream_key


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adaptation:
    """What fine-tuning changes of a model's config; see `BertConfig` for what is meant.

    Attributes:
      classifier_dropout: rate on what the new head sees.
    """

    dropout: float = 0.1
    attention_dropout: float = 0.1
    classifier_dropout: float = 0.1
    attention: Literal["auto", "einsum", "cudnn"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.classifier_dropout < 1:
            raise UserError(
                f"model.classifier_dropout is {self.classifier_dropout}; it must be in [0, 1)"
            )

    def applied(self, config: BertConfig) -> BertConfig:
        """The config of the model while it is trained."""
        changes = dataclasses.asdict(self)
        del changes["classifier_dropout"]
        return dataclasses.replace(config, **changes)


class Learner:
    """A model while it learns a task: its parts, and how good it is on held-out examples.

    Attributes:
      model: as it is trained.
      task: of the config; `tuned` is what the last evaluation made of it.
      labels: what is told apart.
      bert: the pretrained model.
    """

    def __init__(
        self,
        bert: Pretrained,
        task: Task,
        labels: Labels,
        dev: Sequence[Any],
        adaptation: Adaptation,
    ):
        """Builds the model.

        Args:
          bert: the pretrained one.
          task: with its options.
          labels: of the training examples.
          dev: examples to evaluate on.
          adaptation: what is changed of its config.

        Raises:
          UserError: the model does not take rows as long as the task has them.
        """
        config = adaptation.applied(bert.config)
        if task.max_length > config.max_positions:
            raise UserError(
                f"task.max_length {task.max_length} is more than the {config.max_positions} "
                f"positions of the model; say --config.task.max_length={config.max_positions}"
            )
        self.model = BertForTask(config, labels, adaptation.classifier_dropout)
        self.task = self.tuned = task
        self.labels = labels
        self.bert = bert
        self._dev = dev
        # A pooler learns where its vector is scored; the other tasks leave it out.
        of_sentence = {"pooler"} if labels.task == "sentence" else set()
        self._parts = frozenset({"classifier", *of_sentence})
        self._network = Network(config, {}, self._parts, labels)

    @property
    def has_head(self) -> bool:
        """Whether the pretrained model tells the same apart, so that its head is kept."""
        of_bert = self.bert.labels
        return of_bert is not None and (of_bert.task, of_bert.names, of_bert.is_regression) == (
            self.labels.task,
            self.labels.names,
            self.labels.is_regression,
        )

    def begin(self, seed: int) -> PyTree:
        """The parameters to begin with: the encoder's, and by the seed what it lacks.

        A pooler that was never trained is drawn as the head is.
        """
        params = self.bert.params
        encoder, width, key = params["bert"], self.model.config.width, stream_key(seed, Stream.INIT)
        head = params["classifier"] if self.has_head else _dense(key, width, len(self.labels.names))
        if "pooler" in self._parts - self.bert.parts:
            pooler = _dense(jax.random.fold_in(key, 1), width, width)
            encoder = encoder | {"pooler": pooler}
        # Copies, because the first step gives the memory of these away.
        return jax.tree.map(jnp.array, {"bert": encoder, "classifier": head})

    def evaluate(
        self, params: PyTree, on_batch: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """The figures of the held-out examples, and `score`.

        Args:
          params: whose, spread over the devices.
          on_batch: called after every batch.
        """
        evaluation = self.judge(params, self._dev, self.task, on_batch)
        self.tuned = self.task.tuned(evaluation)
        return evaluation.figures | {"score": evaluation.score}

    def judge(
        self,
        params: PyTree,
        examples: Sequence[Any],
        task: Task,
        on_batch: Callable[[], None] = lambda: None,
    ) -> Evaluation:
        """How good parameters are on examples; the options are those of `task`."""
        network = self._network.at(on_one_device(params))
        pad_id = self.bert.tokenizer.pad_id
        scores_of = partial(task_scores, network, pad_id, on_batch=on_batch)
        predictions = task.predict(self.bert.tokenizer, examples, self.labels, scores_of)
        return task.evaluate(examples, predictions, self.labels)

    def save(self, folder: Path, params: PyTree) -> None:
        """Writes a model's folder in place of the one before."""
        whole = Pretrained(
            BertForPreTraining(self.model.config),
            jax.device_get(params),
            self.bert.tokenizer,
            parts=self._parts,
            labels=self.labels,
            extras={TASK_FILE: kinds.to_file(self.tuned)},
        )
        beside = folder.with_name(f"{folder.name}.next")
        shutil.rmtree(beside, ignore_errors=True)
        whole.save(beside)
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)


def _dense(key: Key[Array, ""], width: int, size: int) -> PyTree:
    """A new layer [width, size], drawn as the encoder's are."""
    return {"dense": {"kernel": initializer(key, (width, size)), "bias": jnp.zeros(size)}}
