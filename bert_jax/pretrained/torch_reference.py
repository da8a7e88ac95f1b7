"""A model of `transformers`, run by torch in float32, to compare ours with."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from bert_jax.errors import UserError
from bert_jax.interop.folders import has_tokenizer
from bert_jax.pretrained.comparison import Encode
from bert_jax.pretrained.outputs import Outputs


class TorchReference:
    """A `Comparable` that owes nothing to the code of this package.

    Args:
      folder: a Hugging Face folder, or a name that `transformers` has in its cache.

    Raises:
      UserError: torch or transformers is not installed, or they cannot read it.
    """

    def __init__(self, folder: str):
        try:
            import torch
            import transformers
        except ImportError as error:
            raise UserError(
                f"{error.name} is not installed; pip install 'bert_jax[torch]'"
            ) from None
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        try:
            config = transformers.AutoConfig.from_pretrained(folder)
            named = (config.architectures or ["BertForPreTraining"])[0]
            kind = getattr(transformers, named, transformers.AutoModelForPreTraining)
            # The only attention that hands out its probabilities.
            self._model, found = kind.from_pretrained(
                folder,
                attn_implementation="eager",
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"transformers cannot read {folder} ({reason})") from None
        self._model.eval()
        self._missing = " ".join(found["missing_keys"])
        self._torch = torch
        self.name = f"torch:{folder}"
        self.vocab_size: int = config.vocab_size
        self.max_positions: int = config.max_position_embeddings
        self.encode: Encode | None = None
        if not Path(folder).is_dir() or has_tokenizer(Path(folder)):
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            self.encode = self._encode

    def _encode(self, text: str, pair: str | None) -> tuple[list[int], list[int]]:
        encoding = self._tokenizer(text, pair)
        ids = encoding["input_ids"]
        return ids, encoding.get("token_type_ids", [0] * len(ids))

    def forward(
        self,
        input_ids: Int[np.ndarray, "B T"],
        segment_ids: Int[np.ndarray, "B T"],
        lengths: Int[np.ndarray, " B"],
    ) -> Outputs:
        """See `Comparable`; heads that `transformers` had to initialise are None."""
        as_tensor = self._torch.from_numpy
        is_real = np.arange(input_ids.shape[1]) < lengths[:, None]
        batch = {
            "input_ids": as_tensor(input_ids).long(),
            "token_type_ids": as_tensor(segment_ids).long(),
            "attention_mask": as_tensor(is_real).long(),
        }
        with self._torch.no_grad():
            wanted = {"output_hidden_states": True, "output_attentions": True}
            states = self._model.base_model(**batch, **wanted)
            scores = self._model(**batch)
        has_pooler = states.get("pooler_output") is not None and "pooler" not in self._missing
        return Outputs(
            hidden_states=np.stack([_array(state) for state in states.hidden_states]),
            pooled=_array(states.pooler_output) if has_pooler else None,
            attentions=np.stack([_array(layer) for layer in states.attentions]),
            **self._scores(scores),
        )

    def _scores(self, scores: Any) -> dict[str, np.ndarray | None]:
        """The heads' scores by the names of `Outputs`."""
        kind = type(self._model).__name__
        logits = scores.get("logits")
        mlm = logits if kind == "BertForMaskedLM" else scores.get("prediction_logits")
        nsp = logits if kind == "BertForNextSentencePrediction" else None
        nsp = scores.get("seq_relationship_logits", nsp)
        classes = logits if kind.endswith("Classification") else None
        if "start_logits" in scores:
            pair = (scores["start_logits"], scores["end_logits"])
            classes = self._torch.stack(pair, dim=-1)
        missing = self._missing
        return {
            "mlm_logits": None if mlm is None or "transform" in missing else _array(mlm),
            "nsp_logits": None if nsp is None or "seq_relationship" in missing else _array(nsp),
            "class_logits": None if classes is None else _array(classes),
        }


def _array(tensor: Any) -> np.ndarray:
    return tensor.float().numpy()
