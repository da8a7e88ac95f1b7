"""What a fine-tuned head tells apart."""

from typing import Literal, NamedTuple

Task = Literal["sentence", "tokens", "spans"]


class Labels(NamedTuple):
    """What a fine-tuned classifier tells apart.

    Attributes:
      task: "sentence" scores the pooled vector, "tokens" every token's; "spans"
        gives every token a score as start and as end of an answer.
      names: of the classes, in the order of the scores.
      problem: Hugging Face's `problem_type`, such as regression, where it says it.
    """

    task: Task
    names: tuple[str, ...]
    problem: str | None = None

    @property
    def is_regression(self) -> bool:
        """Whether the one score is a number of its own, and not that of a class."""
        return self.task == "sentence" and self.problem == "regression"
