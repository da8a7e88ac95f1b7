"""Models written by transformers, against what torch makes of them; see make_references.py."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differences import LOGITS, apart, at_tokens, compare, relative

import bert_jax
from bert_jax.interop import huggingface
from bert_jax.interop.naming import flatten
from bert_jax.model.heads import BertForPreTraining
from bert_jax.pretrained import Outputs, Pretrained
from bert_jax.training.objectives import pretraining
from bert_jax.training.steps import loss_share

REFERENCES = Path(__file__).parent / "references"
NAMES = sorted(path.name for path in REFERENCES.iterdir())
PRETRAINING = [name for name in NAMES if name.startswith("pretraining")]
BATCH = (
    "input_ids",
    "segment_ids",
    "lengths",
    "mlm_positions",
    "mlm_ids",
    "mlm_weights",
    "nsp_labels",
)
# What each folder has, beside the encoder.
PARTS = {
    "encoder": {"pooler"},
    "encoder_one_head": {"pooler"},
    "masked_lm_gelu_new": {"predictions"},
    "masked_lm_untied": {"predictions"},
    "next_sentence": {"pooler", "seq_relationship"},
    "pretraining": {"pooler", "predictions", "seq_relationship"},
    "pretraining_relu_eps": {"pooler", "predictions", "seq_relationship"},
    "pretraining_untied": {"pooler", "predictions", "seq_relationship"},
    "question_answering": {"classifier"},
    "sentence_classifier": {"pooler", "classifier"},
    "token_classifier": {"classifier"},
}
LABELS = {
    "question_answering": ("spans", ("start", "end")),
    "sentence_classifier": ("sentence", ("contradiction", "entailment", "neutral")),
    "token_classifier": ("tokens", ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")),
}


def read(name: str) -> dict[str, np.ndarray]:
    with np.load(REFERENCES / name / "outputs.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", NAMES)
def test_folder_gives_what_torch_gives(name: str) -> None:
    bert = bert_jax.load(REFERENCES / name)
    assert bert.parts == PARTS[name]
    assert (bert.labels and (bert.labels.task, bert.labels.names)) == LABELS.get(name)
    stored = read(name)
    theirs = {field: stored[field] for field in Outputs._fields if field in stored}
    batch = [stored[key] for key in ("input_ids", "segment_ids", "lengths")]
    ours = bert.forward(*batch, attentions=True)
    compare(ours, theirs, stored["lengths"])


def test_each_row_alone_gives_the_same() -> None:
    """Padding, in the batch or to a length that is compiled already, changes nothing."""
    bert = bert_jax.load(REFERENCES / "pretraining")
    stored = read("pretraining")
    for row, length in enumerate(stored["lengths"]):
        alone = bert.forward(
            stored["input_ids"][row : row + 1, :length],
            stored["segment_ids"][row : row + 1, :length],
        )
        theirs = stored["hidden_states"][:, row : row + 1, :length]
        assert relative(alone.hidden_states, theirs) <= 1e-5
        assert apart(alone.mlm_logits, stored["mlm_logits"][row : row + 1, :length]) <= LOGITS


def without_dropout(bert: Pretrained) -> BertForPreTraining:
    config = dataclasses.replace(bert.config, dropout=0.0, attention_dropout=0.0)
    return BertForPreTraining(config)


@pytest.mark.parametrize("name", PRETRAINING)
def test_loss_and_every_gradient_are_torch_s(name: str) -> None:
    """Those of training itself: `loss_share`, which `make_train_step` differentiates."""
    bert = bert_jax.load(REFERENCES / name)
    stored = read(name)
    batch = {key: jnp.asarray(stored[key]) for key in BATCH}
    objective = pretraining(without_dropout(bert))
    weights = objective.weights(batch)

    def function(params: dict) -> tuple:
        return loss_share(params, objective, batch, jax.random.key(0), weights)

    (loss, _), tree = jax.jit(jax.value_and_grad(function, has_aux=True))(bert.params)
    assert float(loss) == pytest.approx(float(stored["loss"]), rel=1e-6)

    gradients = flatten(tree)
    theirs = {
        key.removeprefix("gradient/"): array
        for key, array in stored.items()
        if key.startswith("gradient/")
    }
    if not bert.config.tie_decoder:  # then the decoder's own bias is the one that is used
        theirs["cls.predictions.bias"] = theirs.pop("cls.predictions.decoder.bias")
    names = huggingface.names_of(bert.config)
    assert {name.path for name in names} == gradients.keys()
    assert {name.name for name in names} == theirs.keys()
    scale = max(float(np.abs(array).max()) for array in theirs.values())
    worst = ("", 0.0)
    for path, their_name, transposed in names:
        ours = np.asarray(gradients[path])
        expected = theirs[their_name]
        expected = expected.T if transposed else expected
        if path.endswith("self/key/bias"):
            # The same is added to all scores of a query: softmax does not see it.
            assert np.abs(expected).max() < 1e-12 * scale
            assert np.abs(ours).max() < 1e-6 * scale
            continue
        assert np.abs(expected).max() > 1e-4 * scale, f"{path} is not tested"
        worst = max(worst, (path, relative(ours, expected)), key=lambda pair: pair[1])
    print(f"{name}: {len(names)} gradients, worst {worst[1]:.1e} of {worst[0]}")
    assert worst[1] <= 1e-4


@pytest.mark.shared
def test_published_model_gives_what_torch_gives(shared_data: Path) -> None:
    """A model as published: LayerNorms named gamma and beta, no pooler, a decoder that is tied."""
    bert = bert_jax.load(shared_data / "weights" / "bert-tiny-splade-mlm")
    with np.load(shared_data / "reference" / "parity" / "bert-tiny-splade-mlm.npz") as arrays:
        stored = dict(arrays)
    assert bert.parts == {"predictions"}
    assert bert.tokenizer.vocab_size == bert.config.vocab_size == 30522
    mask = stored["attention_mask"]
    lengths = mask.sum(axis=1)
    assert (mask == (np.arange(mask.shape[1]) < lengths[:, None])).all()
    ours = bert.forward(stored["input_ids"], stored["token_type_ids"], lengths, attentions=True)
    logits = ours.mlm_logits
    theirs = {"hidden_states": stored["hidden_states"], "attentions": stored["attentions"]}
    compare(ours._replace(mlm_logits=None), theirs, lengths)

    # The logits are kept in parts: 64 pieces, the ten best, and a row in half precision.
    first = at_tokens(logits[..., :64], lengths, 0)
    assert apart(first, at_tokens(stored["logits_f16_first64"], lengths, 0)) <= LOGITS
    best = np.take_along_axis(logits, stored["top10_ids"], axis=-1)
    assert apart(at_tokens(best, lengths, 0), at_tokens(stored["top10"], lengths, 0)) <= LOGITS
    half = stored["logits_row0"].astype(np.float32)[: lengths[0]]
    assert (np.abs(logits[0, : lengths[0]] - half) <= np.abs(half) * 2**-11 + LOGITS).all()

    masked = bert.forward(stored["masked_ids"], stored["token_type_ids"], lengths).mlm_logits
    rows, places = np.nonzero(stored["labels"] >= 0)
    scores = jax.nn.log_softmax(masked[rows, places])
    loss = -scores[np.arange(len(rows)), stored["labels"][rows, places]].mean()
    assert float(loss) == pytest.approx(float(stored["loss"]), rel=1e-5)
