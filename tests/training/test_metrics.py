import json
import math
from datetime import datetime, timedelta
from pathlib import Path

import jax.numpy as jnp
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bert_jax.training.curves import draw_curves
from bert_jax.training.metrics import MetricsLog, Window, held_out_metrics, read_metrics


def test_a_window_averages_by_weight_and_continues_from_what_was_saved() -> None:
    def sums(total: float, weight: float) -> dict:
        return {"mlm_loss": (jnp.float32(total), jnp.float32(weight))}

    straight, interrupted = Window(), Window()
    for window in (straight, interrupted):
        window.add(sums(0.1, 3))
    resumed = Window(json.loads(json.dumps(interrupted.totals())))
    for window in (straight, resumed):
        window.add(sums(5, 1))
    assert straight.means() == resumed.means() == {"mlm_loss": (float(jnp.float32(0.1)) + 5) / 4}
    assert Window().means() == {}


def test_held_out_figures() -> None:
    totals = {
        "mlm_loss": [20.0, 10.0],
        "mlm_accuracy": [4.0, 10.0],
        "nsp_loss": [50.0, 100.0],
        "nsp_accuracy": [80.0, 100.0],
        "nsp_is_random": [57.0, 100.0],
    }
    assert held_out_metrics(totals) == pytest.approx(
        {
            "mlm_loss": 2.0,
            "mlm_perplexity": math.exp(2),
            "mlm_accuracy": 0.4,
            "nsp_loss": 0.5,
            "nsp_accuracy": 0.8,
            "nsp_base_rate": 0.57,
            "nsp_standard_error": 0.04,
        }
    )
    totals["nsp_is_random"] = [30.0, 100.0]
    assert held_out_metrics(totals)["nsp_base_rate"] == 0.7
    without_nsp = {name: pair for name, pair in totals.items() if name.startswith("mlm")}
    assert held_out_metrics(without_nsp).keys() == {"mlm_loss", "mlm_perplexity", "mlm_accuracy"}


def test_a_resumed_log_has_no_gap_and_no_repeat(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, start_step=0)
    for step in (10, 20, 30):
        log.write(step, "train", {"mlm_loss": step / 10})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "spl')  # killed while writing
    log = MetricsLog(tmp_path, start_step=20)
    for step in (30, 40):
        log.write(step, "train", {"mlm_loss": step / 10 + 0.5})
    log.close()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["mlm_loss"]) for row in rows] == [
        (10, 1.0),
        (20, 2.0),
        (30, 3.5),
        (40, 4.5),
    ]
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("train/mlm_loss")
    assert [(event.step, event.value) for event in events] == [
        (10, 1.0),
        (20, 2.0),
        (30, 3.5),
        (40, 4.5),
    ]


def test_a_resumed_log_forgets_events_that_come_again_and_keeps_its_history(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, start_step=0)
    log.event(15, "loss_spike", loss=4.0, sigma=0.1)
    log.event(25, "skipped_update", batch=[24, 7])
    log.event(27, "loss_spike", loss=5.0)
    log.event(28, "stopped")
    log.close()
    log = MetricsLog(tmp_path, start_step=20)
    log.event(20, "older_checkpoint", damaged=28)
    log.event(25, "skipped_update", batch=[24, 7])
    log.flush()
    events = read_metrics(tmp_path / "events.jsonl")
    log.close()
    assert [(event["step"], event["event"]) for event in events] == [
        (15, "loss_spike"),
        (28, "stopped"),
        (20, "older_checkpoint"),
        (25, "skipped_update"),
    ]
    assert {"loss": 4.0, "sigma": 0.1}.items() <= events[0].items()
    assert datetime.fromisoformat(events[0]["time"]).utcoffset() == timedelta()
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_curves_are_a_picture(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, start_step=0)
    log.write(1, "train", {"mlm_loss": 3.0, "mlm_accuracy": 0.1})
    log.write(2, "held_out", {"mlm_loss": 2.0, "nsp_accuracy": 0.7, "nsp_base_rate": 0.6})
    log.close()
    draw_curves(tmp_path)
    picture = (tmp_path / "curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "split": "train", "loss": 3.0}\n')
    draw_curves(tmp_path)
    without = (tmp_path / "curves.png").read_bytes()
    assert len(picture) > len(without) + 1_000  # more panels, lines, legends and the base rate
    (tmp_path / "metrics.jsonl").write_text("")
    draw_curves(tmp_path)
    assert (tmp_path / "curves.png").read_bytes() == without  # nothing to draw
