from pathlib import Path

import pytest

from bert_jax.errors import UserError
from bert_jax.training.run_folder import RunFolder

CONFIG = {
    "seed": 0,
    "total_steps": 10,
    "model": {"width": 8},
    "data": {"source": "python_docs"},
    "schedule": {"peak_learning_rate": 1e-3},
}


def history(config: dict, step: int) -> list:
    return [step, config.get("batch_size")]


def make_trained(path: Path) -> RunFolder:
    run = RunFolder(path)
    with run.locked():
        run.claim(CONFIG, history)
    (run.checkpoints / "10").mkdir(parents=True)
    return run


def test_the_same_config_comes_back_in(tmp_path: Path) -> None:
    run = make_trained(tmp_path / "runs" / "a")
    assert run.claim(CONFIG, history) == []
    record = run.read()
    assert record["config"] == CONFIG
    assert {"jax", "flax", "python"} <= record["versions"].keys()


def test_a_trained_run_refuses_another_model_and_names_the_difference(tmp_path: Path) -> None:
    run = make_trained(tmp_path)
    with pytest.raises(UserError, match=r"model\.width: 8 -> 16"):
        run.claim(CONFIG | {"model": {"width": 16}}, history)
    with pytest.raises(UserError, match=r"data\.source: 'python_docs' -> 'text:a'"):
        run.claim(CONFIG | {"data": {"source": "text:a"}}, history)
    assert run.read()["config"] == CONFIG


def test_what_was_trained_on_may_not_change_and_what_comes_may(tmp_path: Path) -> None:
    run = make_trained(tmp_path)
    with pytest.raises(UserError, match=r"batch_size: None -> 8"):
        run.claim(CONFIG | {"batch_size": 8}, history)
    later = CONFIG | {"phases": [{"steps": 10}, {"steps": 5, "batch_size": 8}]}
    assert run.claim(later, history)
    assert run.claim(later | {"model": {"width": 8, "remat": True, "attention": "einsum"}}, history)


def test_a_key_that_is_newer_than_the_run_has_its_default(tmp_path: Path) -> None:
    run, defaults = make_trained(tmp_path), {"pairs": {"examples_per_row": 1}}
    assert run.claim(CONFIG | {"pairs": {"examples_per_row": 1}}, history, defaults) == []
    assert run.claim(CONFIG, history, defaults) == []
    with pytest.raises(UserError, match=r"pairs\.examples_per_row: 1 -> 8"):
        run.claim(CONFIG | {"pairs": {"examples_per_row": 8}}, history, defaults)


def test_it_may_run_longer_or_slower_and_says_so(tmp_path: Path) -> None:
    run = make_trained(tmp_path)
    changed = CONFIG | {"total_steps": 20, "schedule": {"peak_learning_rate": 5e-4}}
    assert run.claim(changed, history) == [
        "schedule.peak_learning_rate: 0.001 -> 0.0005",
        "total_steps: 10 -> 20",
    ]
    assert run.read()["config"] == changed


def test_an_untrained_run_can_change_and_drops_what_no_longer_fits(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.claim(CONFIG, history)
    run.tokenizer.mkdir()
    run.corpus.mkdir()
    run.record_hashes(tokenizer_hash="a" * 64)
    assert run.claim(CONFIG | {"seed": 1}, history) == ["seed: 0 -> 1"]
    assert run.tokenizer.exists()
    run.claim(CONFIG | {"data": {"source": "text:a"}}, history)
    assert not run.tokenizer.exists()
    assert not run.corpus.exists()
    run.record_hashes(tokenizer_hash="b" * 64)


def test_prepared_data_may_not_change_under_a_run(tmp_path: Path) -> None:
    run = make_trained(tmp_path)
    run.record_hashes(corpus_hash="a" * 64)
    run.record_hashes(corpus_hash="a" * 64)
    with pytest.raises(UserError, match="corpus_hash is bbbbbbbbbbbb, the run began with aaaaaaa"):
        run.record_hashes(corpus_hash="b" * 64)


def test_another_folder_is_no_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(UserError, match=r"is not a run folder \(config.json is missing"):
        run.read()
    run.config_file.write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match=r"its config\.json is another program's"):
        run.read()
    run.config_file.write_text('{"config": {')
    with pytest.raises(UserError, match=r"config.json is damaged"):
        run.read()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    in_use = pytest.raises(UserError, match="in use by another process")
    with run.locked(), in_use, run.locked():
        pass
    with run.locked():
        (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file; name a folder"):
        RunFolder(tmp_path / "file").locked().__enter__()
