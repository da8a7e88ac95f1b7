"""A model of `transformers`, run by torch in float32, to compare ours with."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from bert_jax.errors import UserError
from bert_jax.interop.folders import has_tokenizer
from bert_jax.pretrained.comparison import Encode
from bert_jax.pretrained.outputs import Outputs

_CHOICE = "MultipleChoice"


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
                f"{error.name} is not installed; pip install torch transformers"
            ) from None
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        try:
            config = transformers.AutoConfig.from_pretrained(folder)
            self.vocab_size: int = config.vocab_size
            self.max_positions: int = config.max_position_embeddings
            named = (config.architectures or ["BertForPreTraining"])[0]
            kind = getattr(transformers, named, transformers.AutoModelForPreTraining)
            # The only attention that hands out its probabilities.
            self._model, found = kind.from_pretrained(
                folder,
                attn_implementation="eager",
                dtype=torch.float32,
                output_loading_info=True,
            )
            tokenizer: Any = None
            if not Path(folder).is_dir() or has_tokenizer(Path(folder)):
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        except Exception as error:  # of safetensors, pickle, tokenizers and more: no common base
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(
                f"transformers cannot read {folder} ({reason}); it must be a whole BERT folder"
            ) from None
        self._model.eval()
        self._tokenizer = tokenizer
        self._kind = type(self._model).__name__
        self._missing = " ".join(found["missing_keys"])
        self._torch = torch
        self.name = f"torch:{folder}"
        self.encode: Encode | None = self._encode if tokenizer is not None else None

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
        if self._kind.endswith(_CHOICE):  # [B C T]: each text is the only choice
            batch = {name: tensor.unsqueeze(1) for name, tensor in batch.items()}
        with self._torch.no_grad():
            seen = self._model(**batch, output_hidden_states=True, output_attentions=True)
            pooler = getattr(self._model.base_model, "pooler", None)
            pooled = None
            if pooler is not None and "pooler" not in self._missing:
                pooled = _array(pooler(seen.hidden_states[-1]))
        return Outputs(
            hidden_states=np.stack([_array(state) for state in seen.hidden_states]),
            pooled=pooled,
            attentions=np.stack([_array(layer) for layer in seen.attentions]),
            **self._scores(seen),
        )

    def _scores(self, scores: Any) -> dict[str, np.ndarray | None]:
        """The heads' scores by the names of `Outputs`."""
        kind, missing = self._kind, self._missing
        logits = scores.get("logits")
        mlm = logits if kind == "BertForMaskedLM" else scores.get("prediction_logits")
        nsp = logits if kind == "BertForNextSentencePrediction" else None
        nsp = scores.get("seq_relationship_logits", nsp)
        classes = logits if kind.endswith(("Classification", _CHOICE)) else None
        if "start_logits" in scores:
            pair = (scores["start_logits"], scores["end_logits"])
            classes = self._torch.stack(pair, dim=-1)
        # The pooler is part of the heads that score whole texts.
        no_nsp = "seq_relationship" in missing or "pooler" in missing
        no_classes = any(part in missing for part in ("classifier", "qa_outputs", "pooler"))
        return {
            "mlm_logits": None if mlm is None or "transform" in missing else _array(mlm),
            "nsp_logits": None if nsp is None or no_nsp else _array(nsp),
            "class_logits": None if classes is None or no_classes else _array(classes),
        }


def _array(tensor: Any) -> np.ndarray:
    return tensor.float().numpy()
