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


@pytest.fixture
def ideal(monkeypatch):
    """The module that divides slots as if they were a fluid."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("ideal")


@pytest.fixture
def adversaries(monkeypatch):
    """The module that sets adversaries on the rule in virtual time."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("adversaries")


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
    columns[12] = 10 + user
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


@pytest.mark.slow
def test_a_log_replayed_by_seconds_gives_each_way_its_indices(tmp_path):
    write_log(tmp_path / "tiny.swf")
    output, results = run_benchmark(
        tmp_path,
        "even_seconds.py",
        "tiny.swf",
        *("--scale", "1000", "--concurrency", "2", "--window-seconds", "0.05"),
    )
    by_user, by_organisation = results["compared"]
    assert by_user["together"]["users"] == ["1", "2"]
    assert by_organisation["together"]["users"] == ["11", "12"]
    assert [len(one["rows"]) for one in (by_user, by_organisation)] == [3, 4]
    for row in by_user["rows"] + by_organisation["rows"]:
        assert 0.5 <= row["by_seconds"] <= 1
        assert row["way"] in output


@pytest.mark.slow
def test_the_scaling_benchmark_measures_every_kind_of_backlog_and_what_keys_take(tmp_path):
    output, results = run_benchmark(tmp_path, "engine_scaling.py", "--quick")
    measured = [(cost["kind"], cost["keys"], cost["batch"]) for cost in results["costs"]]
    kinds = dict.fromkeys(kind for kind, _, _ in measured)
    assert len(kinds) == 5
    assert measured == [(kind, n, batch) for kind in kinds for batch in (1, 16) for n in (10, 300)]
    assert [cost["ratio"] for cost in results["costs"] if cost["keys"] == 10] == [1.0] * 10
    assert len(results["blocked"]) == 3
    assert len(results["memory"]) == 4
    for name in (*kinds, *(one["why"] for one in results["blocked"])):
        assert f"| {name} |" in output


def test_without_a_log_the_replay_says_what_it_needs(tmp_path):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "even_seconds.py"), "nowhere.swf"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert "There is no log at nowhere.swf" in done.stderr


CONTAINED = (
    "flood",
    "flood; busy has share 3",
    "trickle",
    "bursts",
    "retry storm",
    "20 keys in a path",
    "the same in a path",
)


@pytest.mark.parametrize("name", CONTAINED)
def test_by_the_rule_an_adversary_gets_its_share_and_takes_nobodys(adversaries, name):
    [scenario] = [one for one in adversaries.scenarios(seed=7) if one.name == name]
    outcome = adversaries.run(scenario)
    assert all(0.98 <= part <= 1.02 for part in outcome.service.values()), outcome.service
    assert outcome.quiet_max_seconds <= 2 * adversaries.RUN_US / 1e6


def test_keys_that_are_no_paths_are_as_many_tenants(adversaries):
    [scenario] = [one for one in adversaries.scenarios(seed=7) if one.name == "20 keys"]
    assert adversaries.run(scenario).service["adversary"] > 2


def test_what_somebody_does_not_want_is_divided_by_share_among_the_others(ideal):
    wants = {"little": 1.0, "one": 9.0, "three": 9.0}
    gets = ideal.max_min(9.0, wants, {"three": 3.0})
    assert gets == {"little": 1.0, "one": 2.0, "three": 6.0}


def test_a_single_task_gets_one_slot_ideally_whatever_is_free(ideal):
    tasks = [("alone", 0, 1_000_000), ("other", 500_000, 200_000)]
    service = ideal.ideal_service(tasks, slots=4, until_us=600_000, shares={})
    assert service == pytest.approx({"alone": 0.6, "other": 0.1})


def test_a_log_is_read_in_order_without_its_comments(tmp_path, workload_log):
    path = tmp_path / "tiny.swf"
    path.write_text("; a comment\n" + job_line(1, 7, 30, 5) + "\n" + job_line(2, 8, 20, -1) + "\n")
    jobs = workload_log.read_jobs(path, skip=0, limit=10)
    assert jobs == [
        workload_log.Job("8", 20.0, 0.0, "18"),
        workload_log.Job("7", 30.0, 5.0, "17"),
    ]


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


def test_those_who_waited_together_did_so_in_every_replay(service):
    first = [service.Run("a", 0, 6, 7), service.Run("b", 1, 9, 9), service.Run("c", 8, 9, 9)]
    second = [service.Run("a", 0, 9, 9), service.Run("b", 2, 5, 9), service.Run("c", 8, 9, 9)]
    together = service.longest_together([first, second])
    assert together == service.Together(("a", "b"), 2, 5)


def test_three_together_count_for_more_than_two_for_a_little_longer(service):
    runs = [service.Run(user, 0, end, end) for user, end in (("a", 9), ("b", 9), ("c", 6))]
    assert service.longest_together([runs]).users == ("a", "b", "c")


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


def test_the_benchmark_of_withdrawals_takes_all_away_in_each_way(tmp_path):
    output, results = run_benchmark(
        tmp_path, "withdrawals.py", "--entries", "400", "--children", "20", "--told", "20"
    )

    assert [each["entries"] for each in results["taken"]] == [400] * 7
    for each in results["taken"]:
        assert each["case"] in output
        assert each["calls"] >= 3
        assert each["longest_ms"] > 0
    assert results["told_per_second"] > 0
