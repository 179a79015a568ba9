"""Who counts: every task id that was accepted, every run of it, and why it may run again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.servers import eventually


@dataclass(frozen=True)
class Run:
    """One start of a task, as it said itself."""

    number: str
    task_id: str
    worker: str
    """The node name of the worker that ran it."""
    pid: int
    is_ended: bool


@dataclass(frozen=True)
class Excuse:
    """Why a run of these tasks by that worker or process need not be the only one."""

    by: str | int
    """A worker's node name, or a process id."""
    task_ids: frozenset[str]
    why: str


class Ledger:
    """The books of one case: ids accepted here, runs told by `tests/applications/chaos_app`.

    The application's records are in a store of their own where a case breaks
    the one that entries are in.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.accepted: list[str] = []
        self.excuses: list[Excuse] = []

    def accept(self, result: Any) -> Any:
        """Note that the call returned this result."""
        self.accepted.append(result.id)
        return result

    def excuse(self, by: str | int, task_ids: Any, why: str) -> Excuse:
        """What that worker or process ran of these need not be the only run."""
        excuse = Excuse(by, frozenset(task_ids), why)
        self.excuses.append(excuse)
        return excuse

    @property
    def starts(self) -> int:
        return int(self._app.records.llen(f"{self._app.name}:starts"))

    @property
    def ends(self) -> int:
        return int(self._app.records.llen(f"{self._app.name}:ends"))

    def runs(self) -> list[Run]:
        """Return every run so far, in the order of their starts."""
        ended = set(self._app.recorded("ends"))
        return [_run(text, ended) for text in self._app.recorded("starts")]

    def running(self) -> list[Run]:
        """Return the runs that have started and not ended, dead ones too."""
        texts = self._app.records.hvals(f"{self._app.name}:running")
        return [_run(text, set()) for text in sorted(texts)]

    def unended(self) -> set[str]:
        """Return the ids that were accepted and never ran to their end."""
        return set(self.accepted) - {run.task_id for run in self.runs() if run.is_ended}

    def await_ends(self, count: int, seconds: float = 60) -> None:
        eventually(
            lambda: self.ends >= count, seconds, f"{count} runs ended; {self.ends} had at first"
        )

    def await_all_ended(self, seconds: float = 60, *, but: int = 0) -> None:
        """Wait until all but so many of what was accepted have run to their end."""
        self.await_ends(len(self.accepted) - but, seconds)
        eventually(lambda: len(self.unended()) <= but, seconds, "everything accepted has ended")

    def assert_none_lost(self, but: Any = ()) -> None:
        """Fail if something accepted did not run to its end, but for those given."""
        lost = self.unended() - set(but)
        runs = [run for run in self.runs() if run.task_id in lost]
        assert not lost, f"{len(lost)} of {len(self.accepted)} were lost: {lost}; they ran: {runs}"
        strangers = {run.task_id for run in self.runs()} - set(self.accepted)
        assert not strangers, f"these ran and were never accepted: {strangers}"

    def assert_repeats_are_excused(self) -> None:
        """Fail if a task ran twice or more often and more than one run has no excuse."""
        told = []
        for runs in self._repeated(self.excuses):
            excuses = [excuse for excuse in self.excuses if runs[0].task_id in excuse.task_ids]
            told.append(f"it ran so: {runs}; excuses were: {excuses}")
        assert not told, f"{len(told)} ran twice and were not to:\n" + "\n".join(told)

    def needing(self, excuse: Excuse) -> list[list[Run]]:
        """Return the runs of each task that could not have run twice without that excuse."""
        return self._repeated([each for each in self.excuses if each is not excuse])

    def _repeated(self, excuses: list[Excuse]) -> list[list[Run]]:
        def is_excused(run: Run) -> bool:
            return any(
                excuse.by in (run.worker, run.pid) and run.task_id in excuse.task_ids
                for excuse in excuses
            )

        every = self._runs_by_task().values()
        return [runs for runs in every if sum(not is_excused(run) for run in runs) > 1]

    def _runs_by_task(self) -> dict[str, list[Run]]:
        runs: dict[str, list[Run]] = {}
        for run in self.runs():
            runs.setdefault(run.task_id, []).append(run)
        return runs

    def most_runs(self) -> int:
        """Return how often that task ran which ran most often."""
        return max(map(len, self._runs_by_task().values()), default=0)


def _run(text: str, ended: set[str]) -> Run:
    number, task_id, worker, pid = text.split(" ")
    return Run(number, task_id, worker, int(pid), number in ended)
