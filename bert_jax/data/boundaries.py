"""Where sentences and documents begin."""

import dataclasses

import numpy as np
from jaxtyping import Int


@dataclasses.dataclass(frozen=True)
class Sentences:
    """Where sentences and documents begin, in a corpus seen as one token stream.

    Attributes:
      offsets: first token of each sentence, and the end of the last; ascending
        strictly, there are no empty sentences.
      documents: first sentence of each document, and the end of the last.
    """

    offsets: Int[np.ndarray, " sentence_bounds"]
    documents: Int[np.ndarray, " document_bounds"]
