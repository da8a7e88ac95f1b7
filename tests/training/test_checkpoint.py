import functools
import re
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.training.checkpoint import Checkpoints, set_damaged_aside
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.parallel import replicate
from bert_jax.training.steps import TrainState, init_state

MODEL = BertForPreTraining(
    BertConfig(vocab_size=20, num_layers=1, num_heads=1, width=8, max_positions=8)
)
INIT = functools.partial(init_state, MODEL, make_optimizer(), jax.random.key(0))


def make_state(step: int) -> TrainState:
    state = jax.jit(INIT)()
    params = jax.tree.map(lambda leaf: leaf + step / 3, state.params)
    return state.replace(step=state.step + step, params=params)


def assert_equal(a: object, b: object) -> None:
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def test_what_was_saved_on_four_devices_comes_back_to_the_bit(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    state = replicate(make_state(7), jax.devices())
    checkpoints.save(state, {"window": {"mlm_loss": [0.1 + 0.2, 3.0]}})
    checkpoints.close()
    restored, progress = Checkpoints(tmp_path).restore(jax.eval_shape(INIT))
    assert_equal(restored, make_state(7))
    assert progress == {"window": {"mlm_loss": [0.1 + 0.2, 3.0]}}


def test_the_newest_two_are_kept_and_the_newest_is_restored(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 5):
        checkpoints.save(make_state(step), {})
    checkpoints.wait()
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name.isdigit()) == ["2", "5"]
    params, _ = checkpoints.restore_params(jax.eval_shape(INIT).params)
    assert_equal(params, make_state(5).params)


def test_a_step_is_saved_once(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(make_state(1), {"first": True})
    checkpoints.save(make_state(1), {"first": False})
    assert checkpoints.restore(jax.eval_shape(INIT))[1] == {"first": True}


def test_an_unfinished_save_is_not_there(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(make_state(1), {})
    checkpoints.close()
    leftover = tmp_path / "2.orbax-checkpoint-tmp"
    (tmp_path / "1").rename(leftover)
    assert Checkpoints(tmp_path, read_only=True).latest_step is None
    assert leftover.exists()  # another process may be writing it
    assert Checkpoints(tmp_path).latest_step is None


def save_two(folder: Path) -> None:
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(make_state(step), {"step": step})
    checkpoints.close()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    """One bit, the size as it was: what no format notices by itself."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def largest(folder: Path) -> Path:
    return max(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
@pytest.mark.parametrize("item", ["params", "opt_state", "progress"])
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(
    damage: Callable[[Path], None], item: str, tmp_path: Path
) -> None:
    save_two(tmp_path)
    damage(largest(tmp_path / "2" / item))
    (line,) = set_damaged_aside(tmp_path)
    assert re.search(rf"/2 is damaged \({item}/.*\), renamed to 2\.damaged", line), line
    assert (tmp_path / "2.damaged").is_dir()
    checkpoints = Checkpoints(tmp_path)
    state, progress = checkpoints.restore(jax.eval_shape(INIT))
    assert_equal(state, make_state(1))
    assert progress == {"step": 1}
    checkpoints.save(make_state(2), {"step": 2})  # its place is free again
    checkpoints.close()
    assert set_damaged_aside(tmp_path) == []
    assert Checkpoints(tmp_path).restore(jax.eval_shape(INIT))[1] == {"step": 2}


def test_a_checkpoint_without_checksums_is_damaged(tmp_path: Path) -> None:
    save_two(tmp_path)
    (tmp_path / "2" / "checksums.json").unlink()
    (line,) = set_damaged_aside(tmp_path)
    assert "checksums.json is missing" in line
    assert Checkpoints(tmp_path).latest_step == 1


def test_a_whole_checkpoint_that_does_not_fit_is_left_alone(tmp_path: Path) -> None:
    save_two(tmp_path)
    like = jax.eval_shape(INIT)
    other = like.replace(opt_state=(*like.opt_state, {"more": like.step}))
    with pytest.raises(UserError, match=r"/2 is not what this program writes for such a model \("):
        Checkpoints(tmp_path).restore(other)
    assert set_damaged_aside(tmp_path) == []


def test_readers_pass_a_damaged_one_over_and_leave_it(tmp_path: Path) -> None:
    save_two(tmp_path)
    flip(largest(tmp_path / "2" / "params"))
    like = jax.eval_shape(INIT).params
    params, (line,) = Checkpoints(tmp_path, read_only=True).restore_params(like)
    assert_equal(params, make_state(1).params)
    assert line.endswith("this is step 1")
    assert (tmp_path / "2").is_dir()


def test_with_no_whole_checkpoint_nothing_is_renamed_or_begun_anew(tmp_path: Path) -> None:
    save_two(tmp_path)
    for step in "12":
        flip(largest(tmp_path / step / "params"))
    for _ in range(2):
        with pytest.raises(UserError, match=r"no checkpoint in .* can be read \(2: params/.*; 1: "):
            set_damaged_aside(tmp_path)
    assert {"1", "2"} <= {entry.name for entry in tmp_path.iterdir()}
    assert set_damaged_aside(tmp_path / "nowhere") == []


def test_room_is_asked_for_before(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    huge = {"one_number_seen_as_many": np.broadcast_to(np.float32(0), 10**15)}
    with pytest.raises(OSError, match=r"4,000,\d{3},\d{3},\d{3},\d{3} bytes are needed for a"):
        checkpoints.save(make_state(1).replace(params=huge), {})
    assert checkpoints.latest_step is None


def test_nothing_saved_is_said(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest_step is None
    with pytest.raises(UserError, match="no checkpoint yet"):
        checkpoints.restore_params({})
