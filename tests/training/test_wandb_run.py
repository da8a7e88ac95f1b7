"""The real wandb, offline, in processes of its own: it keeps threads and a server."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bert_jax.errors import UserError
from bert_jax.training.wandb_run import require_wandb

# Rows to two logs, the second of which goes on at step 20.
_PROGRAM = """
import sys
from pathlib import Path
from bert_jax.training.metrics import MetricsLog

for start in map(int, sys.argv[2:]):
    log = MetricsLog(
        Path(sys.argv[1]), start_step=start, wandb_project="bert", config={"model": {"layers": 7}}
    )
    for step in (start + 10, start + 20):
        log.write(step, "train", {"mlm_loss": 1 / step})
        log.write(step, "held_out", {"mlm_loss": 2 / step})
    log.close()
"""


def run_program(
    folder: Path, *starts: int, mode: str = "offline", server: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        "HOME": str(folder),
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "WANDB_MODE": mode,
        "WANDB_BASE_URL": server,
        "HTTP_PROXY": server,
        "HTTPS_PROXY": server,
    }
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, folder, *map(str, starts)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def records(folder: Path) -> list[Path]:
    """What each run has written, in order of time."""
    paths = folder.glob("wandb/offline-run-*/*.wandb")
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns)


def test_a_resumed_run_is_the_same_run_and_nothing_is_sent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        for starts in ([0], [20, 0]):
            result = run_program(tmp_path, *starts, server=address)
            assert result.returncode == 0, result.stderr
            assert result.stdout == ""
        server.settimeout(0.5)
        with pytest.raises(TimeoutError):
            server.accept()
    first, resumed, anew = records(tmp_path)
    assert first.name == resumed.name != anew.name
    assert anew.stem == "run-" + (tmp_path / "wandb_id").read_text()
    for record in (first, resumed):
        for name in (b"train/mlm_loss", b"held_out/mlm_loss", b"layers"):
            assert name in record.read_bytes()


@pytest.mark.slow  # wandb tries again for a minute
def test_who_is_not_logged_in_is_told(tmp_path: Path) -> None:
    result = run_program(tmp_path, 0, mode="online", server="http://127.0.0.1:9")
    line = result.stderr.splitlines()[-1]
    assert line.startswith("bert_jax.errors.UserError: ")
    assert "--wandb: No API key configured" in line
    assert "`wandb login` once, or WANDB_MODE=offline" in line


def test_without_wandb_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(UserError, match=re.escape("pip install -e '.[wandb]'")):
        require_wandb()
