"""Disturbs a small run at random, again and again, and compares its end with an undisturbed one.

    python tests/e2e/kill_drill.py --kills 50 [--processes 2] [--seed 0] [--workdir FOLDER]

Processes are killed, told to end, killed while they save; files of the newest
checkpoint are damaged. After each the same command is given again. At the end
parameters, optimizer state and metrics must be those of the undisturbed run, to the
bit. Status 0 if they are and every disturbance went as it should, 1 otherwise.
"""

import argparse
import random
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from small_runs import Group, final_state, make_text, reported, train_command

_STEPS_PER_KILL = 10
_LAST_STEPS = 60  # free of disturbances, for one that is late would find the run ended
_END_SECONDS = 100  # within which all processes must have ended: JAX gives up after 45
# What a process says that lost another; the last is JAX's, which aborts who loses the coordinator.
_LOST = "another process of the run is gone|ends, for process|This most likely indicates that anoth"


class Outcome(NamedTuple):
    """What a disturbance did.

    Attributes:
      step: last reported before it.
      seconds: until all processes had ended.
      statuses: theirs.
      wrong: what is not as it should be, or nothing.
      resumes_at: the step from which the run must go on.
      note: what was done, where the kind does not say it.
      says: what the next start must print.
    """

    step: int
    seconds: float
    statuses: list[int]
    wrong: str
    resumes_at: int
    note: str = ""
    says: str = ""


class Drill:
    """A run, and what happens to it."""

    def __init__(self, folder: Path, *, kills: int, processes: int, seed: int):
        self.chosen = random.Random(seed)
        self.kills = kills
        self.processes = processes
        self.total_steps = 100 + _STEPS_PER_KILL * kills
        self.folder = folder
        self.disturbed, self.straight = folder / "disturbed", folder / "straight"
        self._starts = 0
        self._expected: Outcome | None = None  # what the next start must show
        make_text(folder / "text")

    def start(self, workdir: Path) -> Group:
        """Gives the command; the first run fills the cache of compiled programs, which others read.

        Dropout is on, and in the middle a phase begins, with other rows and fresh moments.
        """
        half = self.total_steps // 2
        first = {"steps": half, "seq_len": 16}
        second = {"steps": half, "moments": "reset", "schedule": "restart", "warmup_steps": 5}
        command = train_command(
            self.folder / "text",
            workdir,
            f"--config.total_steps={self.total_steps}",
            f"--config.phases={[first, second]}",
        )
        self._starts += 1
        return Group(
            [command] * self.processes,
            self.folder / "logs" / f"{self._starts:03}",
            cache=self.folder / "compiled",
        )

    def saved_steps(self) -> list[int]:
        """The checkpoints of the disturbed run, the newest first."""
        folders = (self.disturbed / "checkpoints").glob("*")
        return sorted((int(f.name) for f in folders if f.name.isdigit()), reverse=True)

    def deck(self) -> list[str]:
        """Kinds of disturbance, each as often as the others, in random order."""
        kinds = [kind for kind in KINDS if self.processes > 1 or "one of" not in kind]
        cards: list[str] = []
        while len(cards) < self.kills:
            cards += self.chosen.sample(kinds, len(kinds))
        return cards[: self.kills]

    # What the disturbances are made of.

    def reach(self, group: Group, target: int) -> int:
        """Waits until a step is reported; which one that was."""
        if not group.wait_for(lambda: group.step >= target):
            raise AssertionError(f"it ended before step {target}\n{group.outputs}")
        return group.step

    def ended(self, group: Group, step: int, judge: Callable[[list[int]], str]) -> Outcome:
        """Waits for the end; `judge` says what is wrong with the statuses."""
        begin = time.monotonic()
        statuses = group.wait(_END_SECONDS)
        seconds = time.monotonic() - begin
        return Outcome(step, seconds, statuses, judge(statuses), (self.saved_steps() or [0])[0])

    def kill(self, group: Group, step: int, victim: int | None) -> Outcome:
        """SIGKILL; whoever is left must end by itself, not as if all were well, and say why."""
        group.signal(signal.SIGKILL, victim)

        def judge(statuses: list[int]) -> str:
            wrong = ""
            for index, status in enumerate(statuses):
                if victim in (None, index):
                    continue
                text = group.output(index)
                if status == 0 or not re.search(_LOST, text):
                    wrong += f"process {index} ended with {status}: {text[-300:]!r}. "
            return wrong

        outcome = self.ended(group, step, judge)
        return outcome if victim is None else outcome._replace(note=f"to process {victim}")

    def stop(self, group: Group, step: int, number: int, victim: int | None) -> Outcome:
        """SIGTERM or SIGINT: all save at the same step."""
        group.signal(number, victim)

        def judge(statuses: list[int]) -> str:
            wrong, saved = "", []
            for index, status in enumerate(statuses):
                text = group.output(index)
                if status != (130 if number == signal.SIGINT else 0):
                    wrong += f"process {index} ended with {status}: {text[-300:]!r}. "
                found = re.findall(r" and saved at step ([\d,]+);", text)
                saved += [int(at.replace(",", "")) for at in found]
            newest = self.saved_steps()[:1]
            if saved != newest * len(group):
                wrong += f"saved at {saved}, there is {newest}. "
            return wrong

        outcome = self.ended(group, step, judge)
        return outcome if victim is None else outcome._replace(note=f"to process {victim}")

    def any_victim(self) -> int:
        return self.chosen.randrange(self.processes)

    # The disturbances.

    def kill_one(self, group: Group, target: int) -> Outcome:
        return self.kill(group, self.reach(group, target), self.any_victim())

    def kill_all(self, group: Group, target: int) -> Outcome:
        return self.kill(group, self.reach(group, target), None)

    def kill_any_time(self, group: Group, target: int) -> Outcome:
        """While it starts, compiles, restores or trains; a fast machine must not train far."""
        end = time.monotonic() + self.chosen.uniform(0, 12)
        group.wait_for(lambda: time.monotonic() >= end or group.step >= target)
        return self.kill(group, group.step, None)

    def kill_while_saving(self, group: Group, target: int) -> Outcome:
        step = self.reach(group, target)
        folder = self.disturbed / "checkpoints"
        group.wait_for(lambda: any(folder.glob("*tmp*")))
        time.sleep(self.chosen.choice([0, 0.005, 0.02]))
        return self.kill(group, step, self.any_victim() if self.processes > 1 else None)

    def terminate_one(self, group: Group, target: int) -> Outcome:
        return self.stop(group, self.reach(group, target), signal.SIGTERM, self.any_victim())

    def terminate_all(self, group: Group, target: int) -> Outcome:
        return self.stop(group, self.reach(group, target), signal.SIGTERM, None)

    def interrupt_all(self, group: Group, target: int) -> Outcome:
        return self.stop(group, self.reach(group, target), signal.SIGINT, None)

    def terminate_and_kill(self, group: Group, target: int) -> Outcome:
        """A machine that is taken away before all is saved."""
        step = self.reach(group, target)
        group.signal(signal.SIGTERM)
        time.sleep(self.chosen.uniform(0, 0.3))
        return self.kill(group, step, None)

    def damage(self, group: Group, target: int) -> Outcome:
        """Kills all, then cuts a file of the newest checkpoint short, or changes a byte of it."""
        self.reach(group, target)
        group.wait_for(lambda: len(self.saved_steps()) > 1)
        outcome = self.kill(group, group.step, None)
        newest, before = self.saved_steps()[:2]
        folder = self.disturbed / "checkpoints" / str(newest)
        files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
        path = self.chosen.choice(sorted(files))
        content = bytearray(path.read_bytes())
        at = self.chosen.randrange(len(content))
        if cut := self.chosen.random() < 0.5:
            del content[at:]
        else:
            content[at] ^= self.chosen.randrange(1, 256)
        path.write_bytes(content)
        note = f"{path.relative_to(folder.parent)} {'cut' if cut else 'changed'} at byte {at}"
        return outcome._replace(resumes_at=before, note=note, says=f"{folder} is damaged")

    # From the first start to the last.

    def run(self) -> bool:
        """Runs both; whether all went as it should."""
        with self.start(self.straight) as group:
            self.finish(group)
            print(f"undisturbed: {self.total_steps} steps in {group.seconds:.0f} s", flush=True)
        done: dict[str, list[Outcome]] = {}
        deck = self.deck()
        for number, kind in enumerate(deck):
            at = self._expected.resumes_at if self._expected else 0
            ahead = 2 * (self.total_steps - _LAST_STEPS - at) / (len(deck) - number)
            with self.start(self.disturbed) as group:
                target = at + 1 + int(self.chosen.uniform(0, ahead))
                outcome = KINDS[kind](self, group, target)
                wrong = outcome.wrong + self.check_start(group)
            done.setdefault(kind, []).append(outcome._replace(wrong=wrong))
            if group.resumed_at is not None:
                self._expected = outcome
            print(_line(number + 1, kind, outcome, wrong), flush=True)
        with self.start(self.disturbed) as group:
            self.finish(group)
            wrong = self.check_start(group) + self.compare()
        _summarize(done)
        print(wrong or "the end is that of the undisturbed run: parameters, optimizer, metrics")
        return not wrong and not any(outcome.wrong for kind in done.values() for outcome in kind)

    def finish(self, group: Group) -> None:
        """Lets it train to its end."""
        statuses = group.wait(900)
        assert not any(statuses), f"{statuses}\n{group.outputs}"

    def check_start(self, group: Group) -> str:
        """What is wrong with how it went on, as far as it came."""
        at, expected = group.resumed_at, self._expected
        if expected is None:
            return ""
        if at is None:  # killed before; what is damaged may have been renamed by now
            if expected.says and expected.resumes_at == self.saved_steps()[0]:
                self._expected = expected._replace(says="")
            return ""
        wrong = "" if at == expected.resumes_at else f"went on from {at}, not {expected.resumes_at}"
        if expected.says not in group.output():
            wrong += f"did not say {expected.says!r}"
        return wrong

    def compare(self) -> str:
        """What differs at the end."""
        ours, theirs = final_state(self.disturbed), final_state(self.straight)
        leaves = jax.tree.leaves_with_path((ours.step, ours.params, ours.opt_state))
        others = jax.tree.leaves((theirs.step, theirs.params, theirs.opt_state))
        different = [
            f"{jax.tree_util.keystr(path)} differs. "
            for (path, leaf), other in zip(leaves, others, strict=True)
            if np.asarray(leaf).tobytes() != np.asarray(other).tobytes()
        ]
        if reported(self.disturbed) != reported(self.straight):
            different.append("the metrics differ. ")
        steps = [row["step"] for row in reported(self.straight) if row["split"] == "train"]
        if steps != list(range(5, self.total_steps + 1, 5)):
            different.append(f"steps are missing or twice in the metrics: {steps}. ")
        return "".join(different)


def _line(number: int, kind: str, outcome: Outcome, wrong: str) -> str:
    came = f"ended in {outcome.seconds:.1f} s with {outcome.statuses}"
    goes = f"goes on from {outcome.resumes_at}"
    note = f" ({outcome.note})" if outcome.note else ""
    end = f"\n     WRONG: {wrong}" if wrong else ""
    return f"{number:3}  {kind:22}  at step {outcome.step:4}  {came}; {goes}{note}{end}"


def _summarize(done: dict[str, list[Outcome]]) -> None:
    print(f"\n{'disturbance':22}  times  as it should  seconds to the end, median and most")
    for kind, outcomes in sorted(done.items()):
        seconds = [outcome.seconds for outcome in outcomes]
        right = sum(not outcome.wrong for outcome in outcomes)
        print(
            f"{kind:22}  {len(outcomes):5}  {right:12}"
            f"  {statistics.median(seconds):6.1f}  {max(seconds):6.1f}"
        )
    print(f"{'together':22}  {sum(map(len, done.values())):5}")


KINDS: dict[str, Callable[[Drill, Group, int], Outcome]] = {
    "SIGKILL to one of them": Drill.kill_one,
    "SIGKILL to all": Drill.kill_all,
    "SIGKILL at any time": Drill.kill_any_time,
    "SIGKILL while saving": Drill.kill_while_saving,
    "SIGTERM to one of them": Drill.terminate_one,
    "SIGTERM to all": Drill.terminate_all,
    "SIGINT to all": Drill.interrupt_all,
    "SIGTERM, then SIGKILL": Drill.terminate_and_kill,
    "a damaged checkpoint": Drill.damage,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50, metavar="N")
    parser.add_argument("--processes", type=int, default=1, metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="of what is done when")
    parser.add_argument("--workdir", type=Path, help="kept; without one, a folder that is not")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        drill = Drill(
            options.workdir or Path(temporary),
            kills=options.kills,
            processes=options.processes,
            seed=options.seed,
        )
        return 0 if drill.run() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
