import jax
import pytest

from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import SIZES, BertConfig, training_flops_per_token
from bert_jax.training.steps import init_params

# google-research/bert with V = 30,522: encoder and pooler alone, and with both heads.
PARAMETER_COUNTS = {
    "tiny": (4_385_920, 4_433_468),
    "mini": (11_170_560, 11_267_900),
    "small": (28_763_648, 29_058_876),
    "medium": (41_373_184, 41_668_412),
    "base": (109_482_240, 110_106_428),
    "large": (335_141_888, 336_226_108),
}


@pytest.mark.parametrize("size", SIZES)
def test_parameter_counts_are_those_of_the_published_models(size: str) -> None:
    model = BertForPreTraining(BertConfig(vocab_size=30_522, **SIZES[size]))
    params = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))

    def count(tree: object) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    assert (count(params["bert"]), count(params)) == PARAMETER_COUNTS[size]


def test_every_size_has_a_count() -> None:
    assert SIZES.keys() == PARAMETER_COUNTS.keys()


def test_flops_are_those_of_the_ruler() -> None:
    base = BertConfig(vocab_size=30_522, **SIZES["base"])
    at_128 = training_flops_per_token(base, seq_len=128, num_predictions=19)
    # 50 % of an H100's 989 TFLOP/s is 906k tokens/s for base at T = 128.
    assert 0.5 * 989e12 / at_128 == pytest.approx(906e3, rel=0.01)
    at_512 = training_flops_per_token(base, seq_len=512, num_predictions=77)
    assert 0.5 * 989e12 / at_512 == pytest.approx(841e3, rel=0.01)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"num_heads": 3}, "width 128 is not a multiple of model.num_heads 3"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"activation": "swish"}, "choose from gelu, gelu_tanh"),
        ({"dtype": "float16"}, "choose from float32, bfloat16"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_impossible_models_are_refused(change: dict, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        BertConfig(**({"vocab_size": 100} | SIZES["tiny"] | change))
