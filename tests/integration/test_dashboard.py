"""The dashboard's server over real HTTP and a real Redis: what it tells, does and refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_ranch import ConfigurationError
from celery_ranch.observing.dashboard.controls import CONTROLS
from celery_ranch.observing.dashboard.looking import looks
from celery_ranch.observing.dashboard.security import Rights
from celery_ranch.scheduling.model import Outcome, OutcomeKind
from tests.dashboards import Dashboard
from tests.servers import RedisServer, eventually
from tests.workers import FairApp

LOOKS = sorted(looks())
TOKEN = "a token of some length"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Any]:
    app = FairApp(tmp_path_factory.mktemp("dashboard"), redis_url)
    yield app
    app.close()


@pytest.fixture(scope="module")
def page(app: Any) -> Iterator[Dashboard]:
    with Dashboard(app.ranch) as page:
        yield page


@pytest.fixture(scope="module")
def guarded(app: Any) -> Iterator[Dashboard]:
    with Dashboard(app.ranch, token=TOKEN) as page:
        yield page


@pytest.fixture(scope="module")
def shown_only(app: Any) -> Iterator[Dashboard]:
    with Dashboard(app.ranch, is_read_only=True) as page:
        yield page


def bury(app: Any, key: str, reason: str = "no such task") -> str:
    """Let a task of a key become a dead letter, and return its id."""
    letter = app.send("work", "<b>", lru_key=key).id
    [lease] = app.engine.lease("undertaker", [app.name], 1).leases
    assert lease.entry_id == letter
    outcome = Outcome(OutcomeKind.DEAD, app.name, letter, lease.number, reason)
    app.engine.settle("undertaker", [outcome])
    return str(letter)


# -- who may ---------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.test", ""])
def test_without_a_token_only_this_machine_s_own_addresses_are_listened_on(host: str) -> None:
    with pytest.raises(ConfigurationError, match="where no token is set"):
        Rights(host)
    assert Rights(host, token=TOKEN).host == host


@pytest.mark.parametrize(
    "token", ["", "short", "fifteen letters", "sixteen lettersü", "two\nlines" * 4]
)
def test_a_token_that_is_short_or_no_browser_sends_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError, match="at least 16 printable ASCII") as raised:
        Rights(token=token)
    assert not token or token not in str(raised.value)


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/session", "/api/live"])
@pytest.mark.parametrize("host", ["evil.test", "evil.test:80", "127.0.0.1.evil.test", "", "[::1"])
def test_a_name_of_somebody_else_that_leads_here_is_not_answered(
    page: Dashboard, path: str, host: str
) -> None:
    answer = page.ask(path, headers={"host": host})
    assert answer.status in (400, 421), answer.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:5556", "127.0.0.1:1", "[::1]:5556"])
def test_names_of_this_machine_are_answered(page: Dashboard, host: str) -> None:
    assert page.ask("/api/session", headers={"host": host}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.test"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
        {"origin": ""},
    ],
)
def test_requests_of_other_sites_are_refused(page: Dashboard, headers: dict[str, str]) -> None:
    for name in ("session", "live", *LOOKS):
        assert page.ask(f"/api/{name}", headers=headers).status == 403
    answer = page.steer("do", "pause", {"key": ["acme"]}, **headers)
    assert (answer.status, answer.json) == (403, {"error": "this request comes from another site"})


def test_nothing_is_steered_without_what_only_the_page_can_send(page: Dashboard) -> None:
    for value in ("", "guess"):
        answer = page.steer("do", "pause", {"key": ["acme"]}, **{"x-ranch-steering": value})
        assert answer.status == 403
    same = {"origin": f"http://127.0.0.1:{page.port}", "sec-fetch-site": "same-origin"}
    assert page.steer("plan", "pause", {"key": ["acme"]}, **same).status == 200


def test_who_does_not_know_the_token_sees_the_empty_page_alone(guarded: Dashboard) -> None:
    for given_ in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        assert guarded.ask("/", headers=given_).status == 200
        for name in ("session", "live", *LOOKS):
            answer = guarded.ask(f"/api/{name}", headers=given_)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert TOKEN.encode() not in answer.body
    answer = guarded.steer("do", "pause", {"key": ["acme"]}, authorization="Bearer wrong")
    assert answer.status == 401


def test_who_knows_the_token_may_come_by_any_name(guarded: Dashboard) -> None:
    headers = {**guarded.headers(), "host": "ranch.example.test"}
    assert guarded.ask("/api/session", headers=headers).json["is_read_only"] is False


def test_a_page_that_shows_only_has_no_controls(shown_only: Dashboard) -> None:
    session = shown_only.look("session").json
    assert (session["is_read_only"], session["controls"], session["steering"]) == (True, [], None)
    for name in CONTROLS:
        for verb in ("plan", "do"):
            assert shown_only.steer(verb, name, {"key": ["acme"]}).status == 404


@pytest.mark.parametrize(
    "path",
    ["/", "/static/main.js", "/static/style.css", "/api/session", "/api/none", "/static/none"],
)
def test_every_answer_has_a_strict_policy(page: Dashboard, path: str) -> None:
    headers = page.ask(path).headers
    policy = headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not any("unsafe" in each or "http" in each or "*" in each for each in policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert not any(name.startswith("access-control") for name in headers)
    assert "server" not in headers


def test_the_page_fetches_nothing_from_elsewhere() -> None:
    static = Path(__file__).parents[2] / "src/celery_ranch/observing/dashboard/static"
    own = [path for path in static.rglob("*.*") if "vendor" not in path.parts]
    assert {path.suffix for path in own} == {".html", ".js", ".css", ".svg"}
    for path in own:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path
        assert "innerHTML" not in text, path
    shell = (static / "index.html").read_text(encoding="utf-8")
    assert "<style" not in shell
    assert " style=" not in shell
    assert all(" src=" in part.split(">")[0] for part in shell.split("<script")[1:])


@pytest.mark.parametrize("path", ["/static/../server.py", "/static/..%2fserver.py", "/server.py"])
def test_no_file_but_the_page_s_own_is_sent(page: Dashboard, path: str) -> None:
    assert page.ask(path).status == 404


# -- what is told ------------------------------------------------------------------


def test_a_look_a_second_is_shared_by_all_who_watch(app: Any, page: Dashboard) -> None:
    app.send("work", lru_key="watched")
    with page.watch() as first, page.watch() as second:
        seen = [next(first) for _ in range(3)]
        also = [next(second) for _ in range(2)]
        assert page.viewers == 2
    assert {kind for kind, _ in seen} == {"status"}
    moments = [data["at"] for _, data in seen]
    assert moments == sorted(set(moments))
    assert moments[-1] - moments[-2] > 0.5
    assert {data["at"] for _, data in also} & set(moments)
    [queue] = [each for each in seen[-1][1]["queues"] if each["queue"] == app.name]
    assert queue["waiting"] >= 1
    eventually(lambda: not page.is_looking, 20, "nobody is taken for a viewer any more")


def test_nobody_looks_when_nobody_watches(page: Dashboard) -> None:
    assert not page.is_looking
    with page.watch() as events:
        next(events)
        assert page.is_looking
    eventually(lambda: not page.is_looking, 20, "nobody looks any more")
    with page.watch() as events:
        assert next(events)[0] == "status"


def test_a_store_that_is_away_is_told_and_comes_back(
    tmp_path: Path, own_redis: RedisServer
) -> None:
    app = FairApp(tmp_path, own_redis.url)
    app.send("work", lru_key="acme")
    with Dashboard(app.ranch) as page, page.watch() as events:
        assert next(events)[0] == "status"
        own_redis.stop()
        told = eventually(lambda: dict([next(events)]).get("trouble"), 30, "the trouble is told")
        assert "\n" not in told["error"]
        answer = page.look("key", [("part", "acme")])
        assert answer.status == 503
        assert answer.json["error"]
        own_redis.start()
        eventually(lambda: next(events)[0] == "status", 30, "figures come again")
    app.close()


def test_a_key_is_told_with_its_tasks_and_what_is_noted_of_it(app: Any, page: Dashboard) -> None:
    odd = "</script>\x1b[31m\u202e🐎"
    result = app.send("work", "<b>bold</b>", "\udc80", lru_key=("acme", odd))
    app.ranch.add_tag(("acme", odd), "plan", "gold")
    app.ranch.set_custom_data(("acme", odd), "region", "eu")
    told = page.look("key", [("queue", app.name), ("part", "acme"), ("part", odd)]).json
    assert told["status"]["key"] == ["acme", odd]
    assert (told["status"]["waiting"], told["tags"]) == (1, ["plan=gold"])
    assert told["data"] == {"region": "eu"}
    assert [each["task_id"] for each in told["tasks"]] == [result.id]
    assert "<b>bold</b>" in told["tasks"][0]["args"]


def test_two_applications_in_one_process_are_told_apart(
    app: Any, page: Dashboard, tmp_path: Path, redis_url: str
) -> None:
    other = FairApp(tmp_path, redis_url, celery={"task_default_queue": app.name})
    app.send("work", lru_key="twin")
    with Dashboard(other.ranch) as others:
        for _ in range(2):
            told = [each.look("key", [("part", "twin")]).json for each in (page, others)]
            assert [each["status"]["waiting"] for each in told] == [1, 0]
    other.close()
    app.ranch.cancel(key="twin")


def test_dead_letters_are_told_page_by_page(app: Any, page: Dashboard) -> None:
    app.ranch.purge(app.name)
    first, second = (bury(app, "buried", f"reason {at}") for at in (1, 2))
    told = page.look("dead", [("queue", app.name)]).json
    assert [each["entry_id"] for each in told["letters"]] == [second, first]
    assert told["letters"][0]["reason"] == "reason 2"
    assert told["letters"][0]["key"] == ["buried"]
    told = page.look("dead", [("queue", app.name), ("offset", "1")]).json
    assert [each["entry_id"] for each in told["letters"]] == [first]
    assert told["dead"] == 2
    for one in (first, second):
        app.ranch.delete_dead(one, app.name)


def test_the_last_hours_of_a_queue_are_told_by_the_minute(app: Any, page: Dashboard) -> None:
    told = page.look("history", [("queue", app.name), ("hours", "2")]).json
    assert told.pop("queue") == app.name
    assert {len(column) for column in told.values()} == {120}
    assert {after - before for before, after in pairwise(told["at"])} == {60}
    assert page.look("history", [("hours", "7")]).status == 400


def test_it_is_told_why_a_task_waits(app: Any, page: Dashboard) -> None:
    app.ranch.purge(app.name)
    result = [app.send("work", lru_key="stuck") for _ in range(3)][-1]
    app.ranch.pause("stuck")
    told = page.look("task", [("id", result.id)]).json
    assert told["sentence"] == str(app.ranch.explain(result.id))
    assert (told["facts"]["state"], told["facts"]["position"]) == ("waiting", 2)
    assert told["facts"]["blockers"][0]["kind"] == "paused"
    assert page.look("task", [("id", "none")]).json["facts"]["state"] == "unknown"
    app.ranch.resume("stuck")


def test_it_is_told_when_a_task_should_start_once_workers_were_seen(
    app: Any, page: Dashboard
) -> None:
    app.ranch.purge(app.name)
    result = [app.send("work", lru_key="soon") for _ in range(8)][-1]
    page.look("task", [("id", result.id)])
    for lease in app.engine.lease("w", [app.name], 4).leases:
        app.engine.settle(
            "w", [Outcome(OutcomeKind.COMPLETED, app.name, lease.entry_id, lease.number)]
        )
    told = page.look("task", [("id", result.id)]).json
    assert told["facts"]["starts_in_us"] > 0
    assert "it should start in about" in told["sentence"]


# -- what is done ------------------------------------------------------------------


def test_a_share_is_set_after_it_was_said_what_it_will_do(app: Any, page: Dashboard) -> None:
    facts = {"queue": app.name, "key": ["payer"], "share": 3}
    plan = page.steer("plan", "share", facts).json
    assert plan["sentences"][0] == f"payer: share 3, in the queue {app.name}. It is 1 now."
    assert (plan["drops"], app.ranch.key("payer", app.name).share) == (False, 1.0)
    assert page.steer("do", "share", facts).json == {"done": f"payer in {app.name}: share 3."}
    assert app.ranch.key("payer", app.name).share == 3.0
    page.steer("do", "share", {**facts, "share": None})
    assert app.ranch.key("payer", app.name).share == 1.0


def test_shares_and_limits_are_set_by_tag_and_by_default(app: Any, page: Dashboard) -> None:
    app.ranch.add_tag("tagged", "plan", "tin")
    plan = page.steer("plan", "share", {"tag": "plan=tin", "share": 2}).json
    assert "1 key has it now" in plan["sentences"][0]
    assert page.steer("do", "share", {"tag": "plan=tin", "share": 2}).status == 200
    app.send("work", lru_key="tagged")
    assert app.ranch.key("tagged").share == 2.0
    assert page.steer("do", "limits", {"depth": 3, "backlog": 1}).status == 200
    assert page.steer("do", "limits", {"depth": 3}).status == 200
    assert page.steer("do", "share", {"tag": "plan=tin", "share": None}).status == 200


def test_limits_are_set_and_taken_back(app: Any, page: Dashboard) -> None:
    facts = {"key": ["limited"], "concurrency": 2, "rate": "10/m", "burst": 3, "backlog": "inf"}
    plan = page.steer("plan", "limits", facts).json
    assert "concurrency 2, rate 10/m, burst 3, backlog unlimited" in plan["sentences"][0]
    assert page.steer("do", "limits", facts).status == 200
    facts = {"key": ["limited"], "backlog": 1}
    assert page.steer("do", "limits", facts).status == 200
    app.send("work", lru_key="limited")
    with pytest.raises(Exception, match="1 tasks waiting"):
        app.send("work", lru_key="limited")
    assert page.steer("do", "limits", {"key": ["limited"]}).status == 200
    app.send("work", lru_key="limited")


def test_a_key_is_paused_and_resumed_with_figures(app: Any, page: Dashboard) -> None:
    app.send("work", lru_key=("held", "one"))
    app.send("work", lru_key=("held", "two"), countdown=100)
    facts = {"queue": app.name, "key": ["held"]}
    plan = page.steer("plan", "pause", facts).json
    assert "1 task waiting, 1 delayed and 0 with workers" in plan["sentences"][0]
    assert page.steer("do", "pause", facts).status == 200
    assert app.ranch.key("held").is_paused
    assert page.steer("do", "resume", facts).status == 200
    assert not app.ranch.key("held").is_paused


def test_a_task_is_cancelled_and_who_waits_for_it_is_told(app: Any, page: Dashboard) -> None:
    result = app.send("work", lru_key="gone")
    plan = page.steer("plan", "cancel-task", {"task_id": result.id}).json
    assert plan["drops"]
    assert page.steer("do", "cancel-task", {"task_id": result.id}).status == 200
    assert result.state == "REVOKED"
    assert page.steer("do", "cancel-task", {"task_id": result.id}).status == 404


def test_all_tasks_of_a_key_are_cancelled_after_they_were_counted(
    app: Any, page: Dashboard
) -> None:
    results = [app.send("work", lru_key=("many", str(at)), countdown=at * 100) for at in range(3)]
    facts = {"queue": app.name, "key": ["many"]}
    plan = page.steer("plan", "cancel-key", facts).json
    assert "3 tasks will be dropped" in plan["sentences"][1]
    assert (plan["drops"], {result.state for result in results}) == (True, {"PENDING"})
    done = page.steer("do", "cancel-key", facts).json["done"]
    assert done == f"3 tasks of many in {app.name}: cancelled."
    assert {result.state for result in results} == {"REVOKED"}


def test_all_tasks_of_keys_with_a_tag_are_cancelled(app: Any, page: Dashboard) -> None:
    for key in ("zinc-1", "zinc-2"):
        app.ranch.add_tag(key, "plan", "zinc")
    results = [app.send("work", lru_key=key) for key in ("zinc-1", "zinc-2", "zinc-2")]
    facts = {"queue": app.name, "tag": "plan=zinc"}
    plan = page.steer("plan", "cancel-tag", facts).json
    assert plan["sentences"][0].startswith("2 keys of the queue")
    assert plan["sentences"][0].endswith("3 tasks waiting and 0 delayed.")
    assert page.steer("do", "cancel-tag", facts).status == 200
    assert {result.state for result in results} == {"REVOKED"}


def test_a_task_and_then_all_of_a_key_are_moved(app: Any, page: Dashboard) -> None:
    results = [app.send("work", lru_key="from") for _ in range(3)]
    facts = {"task_id": results[0].id, "to_key": ["to", "one"]}
    assert "will wait under to/one" in page.steer("plan", "move-task", facts).json["sentences"][0]
    assert page.steer("do", "move-task", facts).status == 200
    facts = {"queue": app.name, "key": ["from"], "to_key": ["to", "two"]}
    assert "2 tasks will wait" in page.steer("plan", "move-key", facts).json["sentences"][1]
    done = page.steer("do", "move-key", facts).json["done"]
    assert done == f"2 tasks of from in {app.name}: now under to/two."
    waiting = [app.ranch.key(key).waiting for key in ("from", ("to", "one"), ("to", "two"))]
    assert waiting == [0, 1, 2]
    for target in ({}, {"to_key": ["from"]}, {"to_queue": "nowhere"}):
        answer = page.steer("do", "move-key", {"key": ["from"], **target})
        assert answer.status == 400, answer
    app.ranch.cancel(key="to")


def test_all_dead_letters_of_a_key_and_then_all_are_dealt_with(app: Any, page: Dashboard) -> None:
    app.ranch.purge(app.name)
    for key in ("one", "two", "two"):
        bury(app, key)
    facts = {"queue": app.name, "key": ["two"]}
    assert page.steer("plan", "retry-all-dead", facts).json["drops"] is False
    done = page.steer("do", "retry-all-dead", facts).json["done"]
    assert done == "2 dead letters: each waits again."
    plan = page.steer("plan", "delete-all-dead", {"queue": app.name}).json
    assert plan["drops"]
    assert plan["sentences"][0].startswith(f"All of the queue {app.name}: 1 dead letter ")
    assert page.steer("do", "delete-all-dead", {"queue": app.name}).status == 200
    assert app.ranch.dead_letters(app.name) == ()
    app.ranch.purge(app.name)


def test_dead_letters_are_retried_and_deleted(app: Any, page: Dashboard) -> None:
    app.ranch.purge(app.name)
    first, second = bury(app, "buried"), bury(app, "buried")
    facts = {"queue": app.name, "entry_ids": [first, "unknown"]}
    assert page.steer("plan", "retry-dead", facts).json["drops"] is False
    assert page.steer("do", "retry-dead", facts).json["done"].startswith("1 dead letter")
    assert app.ranch.cancel(first)
    facts = {"queue": app.name, "entry_ids": [second]}
    assert page.steer("plan", "delete-dead", facts).json["drops"] is True
    assert page.steer("do", "delete-dead", facts).status == 200
    assert page.steer("do", "delete-dead", facts).status == 400
    assert app.ranch.dead_letters(app.name) == ()


# -- what is refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    "name, facts, sentence",
    [
        ("share", {"key": ["a"], "share": 0}, "0 is not a share"),
        ("share", {"key": ["a"], "share": "much"}, "'much' is not a share"),
        ("share", {"share": 1}, "exactly one of key, tag and depth"),
        ("share", {"key": "a", "share": 1}, "a list of the key's parts"),
        ("share", {"key": [], "share": 1}, "1 to 8 parts"),
        ("share", {"key": ["\ud800"], "share": 1}, "without lone surrogates"),
        ("share", {"tag": "gold", "share": 1}, "a tag is name=value"),
        ("share", {"depth": 9, "share": 1}, "a depth from 1 to 8"),
        ("share", {"key": ["a"], "weight": 1}, "'weight' is not known here"),
        ("limits", {"key": ["a"], "rate": "often"}, "rate is 'often'"),
        ("limits", {"key": ["a"], "burst": 2}, "only together with a rate"),
        ("pause", {"key": ["a"], "queue": "none"}, "there is no queue 'none'"),
        ("cancel-task", {}, "task_id has to be a text"),
        ("delete-dead", {"entry_ids": []}, "entry_ids has to be a list"),
    ],
)
def test_what_cannot_be_done_is_refused_before_and_changes_nothing(
    app: Any, page: Dashboard, name: str, facts: Any, sentence: str
) -> None:
    queues = app.engine.queues()
    for verb in ("plan", "do"):
        answer = page.steer(verb, name, facts)
        assert answer.status in (400, 404)
        assert sentence in answer.json["error"]
    assert app.engine.queues() == queues


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"[" * 60_000, b"\xff", b"1" * 70_000])
def test_what_is_no_json_object_is_refused(page: Dashboard, body: bytes) -> None:
    answer = page.steer("do", "pause", body)
    assert answer.status == 400
    assert list(answer.json) == ["error"]


def test_a_form_of_html_steers_nothing(page: Dashboard) -> None:
    answer = page.steer("do", "pause", b"key=acme", **{"content-type": "text/plain"})
    assert answer.status == 400


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3)
    ),
    max_leaves=5,
)
WORDS = "queue key tag depth share concurrency rate burst backlog task_id entry_ids to_key to_queue"
NAMES = st.sampled_from(WORDS.split())


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(sorted(CONTROLS)),
    verb=st.sampled_from(["plan", "do"]),
    facts=st.dictionaries(NAMES, VALUES, max_size=4),
)
def test_whatever_is_asked_for_the_answer_is_a_sentence(
    app: Any, page: Dashboard, name: str, verb: str, facts: Any
) -> None:
    answer = page.steer(verb, name, json.dumps(facts).encode())
    assert answer.status in (200, 400, 404), (answer.status, answer.body)
    if answer.status != 200:
        assert list(answer.json) == ["error"]
        assert "Traceback" not in answer.json["error"]


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(LOOKS),
    query=st.lists(
        st.tuples(
            st.sampled_from(["queue", "part", "offset", "id"]),
            st.text(max_size=20) | st.sampled_from(["9" * 30, "-1", "²"]),
        ),
        max_size=10,
    ),
)
def test_whatever_is_looked_for_the_answer_is_a_sentence(
    app: Any, page: Dashboard, name: str, query: Any
) -> None:
    answer = page.look(name, [(each, value.encode("utf-8", "replace")) for each, value in query])
    assert answer.status in (200, 400, 404), (answer.status, answer.body)
