"""Writes the reference models of this folder, and what torch makes of them.

  pip install torch transformers
  python tests/parity/make_references.py

Each folder of `references/` is a small model with random parameters, as
`save_pretrained` of transformers writes it (`config.json`, `model.safetensors`),
and `outputs.npz`: a batch, and all that the model gives for it. Parameters are
float32; torch computes in float64 and the results are rounded to float32, so that
what differs from them is the other side's error.

Parameters are larger than those of a fresh model, and biases and LayerNorms are no
zeros and ones: only then does it show if two are exchanged, transposed or left out.
Made with torch 2.13.0 and transformers 5.23.0.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

FOLDER = Path(__file__).parent / "references"
LENGTHS = (14, 9, 5)
FIRST_SEGMENTS = (6, 4, 5)  # the last row has no second one
MASKED = ((2, 5, 9, 11), (1, 6), (3,))  # uneven, as in training
NSP_LABELS = (0, 1, 0)

BASE: dict[str, Any] = {
    "vocab_size": 67,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 56,
    "max_position_embeddings": 40,
    "attn_implementation": "eager",  # the only one that returns attentions
}
# By the folder's name: the class of transformers, and what its config has that BASE has not.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "pretraining": ("BertForPreTraining", {}),
    "pretraining_relu_eps": (
        "BertForPreTraining",
        {"hidden_act": "relu", "layer_norm_eps": 1e-3, "num_hidden_layers": 1},
    ),
    "pretraining_untied": (
        "BertForPreTraining",
        {"tie_word_embeddings": False, "vocab_size": 71, "num_hidden_layers": 1},
    ),
    "masked_lm_gelu_new": (
        "BertForMaskedLM",
        {
            "hidden_act": "gelu_new",
            "hidden_size": 40,
            "num_attention_heads": 5,
            "num_hidden_layers": 3,
        },
    ),
    "masked_lm_untied": ("BertForMaskedLM", {"tie_word_embeddings": False}),
    "encoder": ("BertModel", {"hidden_size": 48, "num_attention_heads": 2}),
    "encoder_one_head": ("BertModel", {"num_attention_heads": 1, "type_vocab_size": 3}),
    "next_sentence": ("BertForNextSentencePrediction", {"hidden_act": "silu"}),
    "sentence_classifier": (
        "BertForSequenceClassification",
        {
            "id2label": {0: "contradiction", 1: "entailment", 2: "neutral"},
            "label2id": {"contradiction": 0, "entailment": 1, "neutral": 2},
        },
    ),
    "token_classifier": (
        "BertForTokenClassification",
        {
            "id2label": dict(enumerate(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))),
            "label2id": {"O": 0, "B-PER": 1, "I-PER": 2, "B-LOC": 3, "I-LOC": 4},
        },
    ),
    "question_answering": ("BertForQuestionAnswering", {}),
}


def make(name: str, seed: int) -> None:
    """One folder."""
    class_name, settings = MODELS[name]
    config = transformers.BertConfig(**BASE | settings)
    torch.manual_seed(seed)
    model = getattr(transformers, class_name)(config).eval()
    perturb(model)
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)

    batch = make_batch(config, np.random.default_rng(seed))
    outputs = compute(model.double(), class_name, batch)
    arrays = {key: array.astype(np.float32) for key, array in outputs.items()}
    np.savez_compressed(folder / "outputs.npz", **batch, **arrays)
    # What is saved is what was computed with.
    stored = load_file(folder / "model.safetensors")
    state = model.state_dict()
    assert all(torch.equal(state[key], tensor.double()) for key, tensor in stored.items())
    print(f"{name}: {len(stored)} tensors, {len(arrays)} results")


def perturb(model: torch.nn.Module) -> None:
    """Gives every parameter values that count, in place; tied ones stay tied."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape)
            if name.endswith("LayerNorm.weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.ndim == 1:
                parameter.copy_(0.2 * noise)
            else:
                parameter.copy_((0.4 if "embeddings" in name else 0.2) * noise)


def make_batch(config: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows of uneven lengths, with a second segment and masked words."""
    shape = (len(LENGTHS), max(LENGTHS))
    places = np.arange(shape[1])[None, :]
    lengths = np.array(LENGTHS, np.int32)
    is_real = places < lengths[:, None]
    is_second = is_real & (places >= np.array(FIRST_SEGMENTS)[:, None])
    batch = {
        "input_ids": np.where(is_real, random.integers(1, config.vocab_size, shape), 0),
        "segment_ids": is_second * (config.type_vocab_size - 1),
        "lengths": lengths,
        "mlm_positions": np.zeros((shape[0], 5), np.int32),  # the last column is padding
        "mlm_ids": np.zeros((shape[0], 5), np.int32),
        "mlm_weights": np.zeros((shape[0], 5), np.float32),
        "nsp_labels": np.array(NSP_LABELS),
    }
    for row, masked in enumerate(MASKED):
        batch["mlm_positions"][row, : len(masked)] = masked
        batch["mlm_ids"][row, : len(masked)] = random.integers(1, config.vocab_size, len(masked))
        batch["mlm_weights"][row, : len(masked)] = 1
    return {
        key: array if array.dtype == np.float32 else array.astype(np.int32)
        for key, array in batch.items()
    }


def compute(model: Any, class_name: str, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the model gives; for pretraining also the loss and its gradients, `gradient/NAME`."""
    tensors = {key: torch.from_numpy(array).long() for key, array in batch.items()}
    inputs = {
        "input_ids": tensors["input_ids"],
        "token_type_ids": tensors["segment_ids"],
        "attention_mask": torch.arange(max(LENGTHS))[None, :] < tensors["lengths"][:, None],
    }
    seen = model(**inputs, output_hidden_states=True, output_attentions=True)
    outputs = {
        "hidden_states": torch.stack(seen.hidden_states),
        "attentions": torch.stack(seen.attentions),
    }
    encoder = model if class_name == "BertModel" else model.bert
    pooled = encoder(**inputs).pooler_output
    if pooled is not None:
        outputs["pooled"] = pooled
    if class_name == "BertForPreTraining":
        outputs["mlm_logits"] = seen.prediction_logits
        outputs["nsp_logits"] = seen.seq_relationship_logits
        outputs |= loss_and_gradients(model, inputs, tensors)
    elif class_name == "BertForQuestionAnswering":
        outputs["class_logits"] = torch.stack([seen.start_logits, seen.end_logits], dim=-1)
    elif class_name != "BertModel":
        kinds = {"BertForMaskedLM": "mlm_logits", "BertForNextSentencePrediction": "nsp_logits"}
        outputs[kinds.get(class_name, "class_logits")] = seen.logits
    return {key: tensor.detach().numpy() for key, tensor in outputs.items()}


def loss_and_gradients(
    model: Any, inputs: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Of the mean over the masked words plus the mean over the rows."""
    labels = torch.full_like(tensors["input_ids"], -100)
    for row, masked in enumerate(MASKED):
        labels[row, list(masked)] = tensors["mlm_ids"][row, : len(masked)]
    loss = model(**inputs, labels=labels, next_sentence_label=tensors["nsp_labels"]).loss
    loss.backward()
    # Where the decoder has a matrix of its own it has its bias too, and nothing uses the other.
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss, **{f"gradient/{name}": gradient for name, gradient in found.items()}}


def main() -> int:
    """Writes all folders, or those that are named."""
    for seed, name in enumerate(MODELS):
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make(name, seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
