"""The benchmarks run, and say what they were asked; how fast is no test's business."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
DEADLINE_SECONDS = 150.0

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def service(monkeypatch):
    """The module that computes Jain's index."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("service")


@pytest.fixture
def workload_log(monkeypatch):
    """The module that reads logs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("workload_log")


def run_benchmark(folder, script, *arguments):
    """Run a benchmark to its end; return its output and the JSON it wrote."""
    written = folder / "results.json"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments, "--json", str(written)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout, json.loads(written.read_text())


def job_line(number, user, submit_seconds, run_seconds):
    """Return one job of a Standard Workload Format log."""
    columns = [-1] * 18
    columns[0], columns[1], columns[3], columns[11] = number, submit_seconds, run_seconds, user
    return " ".join(str(column) for column in columns)


def write_log(path):
    """Write a log of one user's twenty jobs and another's four."""
    jobs = [job_line(number, 1, 0, 100) for number in range(20)]
    jobs += [job_line(20 + number, 2, 10 * number, 50) for number in range(4)]
    path.write_text("; Version: 2.2\n" + "\n".join(jobs) + "\n")


@pytest.mark.slow
def test_the_throughput_benchmark_measures_both_sides_and_says_on_what(tmp_path):
    output, results = run_benchmark(
        tmp_path,
        "throughput.py",
        "--quick",
        "--only",
        "drain",
        "--only",
        "latency",
        "--pool",
        "solo",
    )
    measures = {measure["name"]: measure for measure in results["measures"]}
    assert {"publish one by one", "drain, solo 1", "Redis CPU per task, solo"} <= set(measures)
    for measure in measures.values():
        assert len(measure["plain"]) == len(measure["fair"]) == results["plan"]["repeats"]
        assert all(value > 0 for value in measure["plain"] + measure["fair"])
        assert measure["name"] in output
    assert {"cpu", "cores", "python", "celery", "kombu", "redis", "redis server", "date"} <= set(
        results["machine"]
    )
    assert results["plan"]["seed"] == 1


@pytest.mark.slow
def test_a_replayed_log_gives_each_users_waits_on_both_sides(tmp_path):
    write_log(tmp_path / "tiny.swf")
    output, results = run_benchmark(
        tmp_path,
        "replay.py",
        "tiny.swf",
        *("--scale", "2000", "--concurrency", "2", "--window-seconds", "0.1"),
    )
    assert [side["side"] for side in results["replayed"]] == ["plain", "fair"]
    for side in results["replayed"]:
        waits = {row["users"]: row for row in side["waits"]}
        assert waits["user 1"]["jobs"] == 20
        assert waits["user 2"]["jobs"] == 4
        assert waits["medians of 2 users"]["jobs"] == 2
    assert "Jain's index of service" in output


def test_a_log_is_read_in_order_without_its_comments(tmp_path, workload_log):
    path = tmp_path / "tiny.swf"
    path.write_text("; a comment\n" + job_line(1, 7, 30, 5) + "\n" + job_line(2, 8, 20, -1) + "\n")
    jobs = workload_log.read_jobs(path, skip=0, limit=10)
    assert jobs == [workload_log.Job("8", 20.0, 0.0), workload_log.Job("7", 30.0, 5.0)]


def test_a_log_with_a_broken_line_names_the_line(tmp_path, workload_log):
    path = tmp_path / "tiny.swf"
    path.write_text("; a comment\n1 2 3\n")
    with pytest.raises(ValueError, match="line 2 has 3 columns"):
        workload_log.read_jobs(path, skip=0, limit=10)


def test_users_served_in_turn_are_served_evenly(service):
    runs = [service.Run(str(number % 2), 0.0, number, number + 1.0) for number in range(20)]
    even = service.evenness(runs, window_seconds=2.0)
    assert even.by_tasks == pytest.approx(1.0)
    assert even.by_seconds == pytest.approx(1.0)


def test_one_user_served_first_is_as_uneven_as_two_users_can_be(service):
    runs = [service.Run(str(number // 10), 0.0, number, number + 1.0) for number in range(20)]
    assert service.evenness(runs, window_seconds=2.0).by_tasks == pytest.approx(0.5)


def test_without_two_users_backlogged_there_is_no_index(service):
    runs = [service.Run("alone", 0.0, number, number + 1.0) for number in range(20)]
    alone = service.evenness(runs, window_seconds=2.0)
    assert math.isnan(alone.by_tasks)
    assert alone.windows == 0


def test_the_report_on_the_bound_says_which_fractions_of_it_were_reached(tmp_path):
    output, rows = run_benchmark(
        tmp_path, "how_close_to_the_bound.py", "--histories", "2", "--steps", "100"
    )

    assert output.count("|---") > 0
    assert [row["at_once"] for row in rows] == [1, 4, 16] * 4
    for row in rows:
        assert f"| {row['bound']} | {row['at_once']} | {row['median']:.3f} |" in output
        assert 0 < row["median"] <= row["largest"] <= 1
        assert 0 < row["adversary"] <= 1
