"""What is written for other programs, beside the weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from model_cases import TEXTS, make_model, make_tokenizer

import bert_jax
from bert_jax.errors import UserError
from bert_jax.pretrained import Pretrained

SIZES = {"wordpiece": 200, "bpe": 150, "byte_bpe": 300, "unigram": 80, "sentencepiece_bpe": 120}


@pytest.mark.parametrize("kind", SIZES)
def test_every_vocabulary_goes_round_and_opens_in_tokenizers(kind: str, tmp_path: Path) -> None:
    """The library's own reader stands for `transformers`, which builds on it."""
    before = make_model(make_tokenizer(SIZES[kind], type=kind))
    before.save(tmp_path / "model")
    after = bert_jax.load(tmp_path / "model")
    assert after.tokenizer.hash == before.tokenizer.hash
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    for text in TEXTS:
        encoding = theirs.encode(text, TEXTS[0])
        assert encoding.ids == before.tokenizer.encode(text, TEXTS[0]).ids
        assert encoding.type_ids == before.tokenizer.encode(text, TEXTS[0]).segment_ids
    settings = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert settings["model_max_length"] == 64


def test_parts_that_were_never_trained_are_left_out(bert: Pretrained, tmp_path: Path) -> None:
    parts = frozenset({"predictions"})
    Pretrained(bert.model, bert.params, bert.tokenizer, parts=parts).save(tmp_path / "model")
    settings = json.loads((tmp_path / "model" / "config.json").read_text())
    assert settings["architectures"] == ["BertForMaskedLM"]
    after = bert_jax.load(tmp_path / "model")
    assert after.parts == parts
    assert after.report.created == ["pooler", "seq_relationship"]
    outputs = after.forward([[2, 3]])
    assert outputs.pooled is None
    assert outputs.nsp_logits is None
    np.testing.assert_array_equal(outputs.mlm_logits, bert.forward([[2, 3]]).mlm_logits)


def test_a_place_that_is_taken(bert: Pretrained, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    bert.save(tmp_path / "empty")
    with pytest.raises(UserError, match="exists already; choose another folder"):
        bert.save(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="exists already"):
        bert.save(tmp_path / "file")


def test_what_google_s_format_cannot_hold(tmp_path: Path) -> None:
    bert = make_model(make_tokenizer(), tie_decoder=False)
    with pytest.raises(UserError, match="no masked-word head with a matrix of its own"):
        bert.save(tmp_path / "google", "google")
    assert not list(tmp_path.iterdir())
    bert.save(tmp_path / "huggingface")
    after = bert_jax.load(tmp_path / "huggingface")
    assert not after.config.tie_decoder
    for one, other in zip(bert.forward([[2, 9, 3]]), after.forward([[2, 9, 3]]), strict=True):
        if one is not None:
            np.testing.assert_array_equal(one, other)
