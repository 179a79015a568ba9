"""A store behind Sentinel whose master dies again and again, under load."""

import pytest

from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.sentinels import SentinelServers
from tests.servers import eventually
from tests.workers import FairApp

pytestmark = pytest.mark.timeout(3600)


def test_a_failover_loses_and_repeats_nothing_but_what_was_not_copied(tmp_path, redis_url, chaos):
    """What ran or was accepted while the master died may; all else runs once."""
    if not chaos.is_long:
        pytest.skip("its short form is in tests/integration/test_sentinel.py")
    with SentinelServers(replicas=1) as servers:
        app = FairApp(
            tmp_path,
            redis_url,
            module="chaos_app",
            ranch={**servers.ranch, "lease_seconds": 3},
            open_store=lambda: servers.client(as_text=False),
        )
        ledger = Ledger(app)
        names = ("w1", "w2")
        with (
            app.worker(name="w1"),
            app.worker(name="w2", pool="gevent"),
            Load(app, ledger, chaos.chance) as load,
        ):
            uncopied = set()
            for _ in range(chaos.scale(1, 5)):
                load.await_more(accepted=20, ended=chaos.chance.randrange(5, 30))
                calls, ended = len(ledger.accepted), ended_ids(ledger)
                eventually(
                    lambda ended=ended: not ended & stored_ids(app, servers),
                    60,
                    "what has ended is reported",
                )
                servers.await_replicas()
                servers.kill_master()
                load.await_more(accepted=5, ended=5, seconds=120)
                servers.restart_killed()
                uncopied |= set(ledger.accepted[calls:])
                for name in names:
                    ledger.excuse(
                        f"{name}@{app.name}",
                        {run.task_id for run in ledger.runs()} - ended,
                        "what was reported of it was not copied",
                    )
            load.await_more(accepted=20, ended=20)
            load.stop()
            app.await_idle(120)
            ledger.assert_none_lost(but=uncopied)
            ledger.assert_repeats_are_excused()
        app.close()


def ended_ids(ledger):
    return {run.task_id for run in ledger.runs() if run.is_ended}


def stored_ids(app, servers):
    with servers.client() as client:
        return set(client.hkeys(f"{app.name}:{{{app.name}}}:entries"))
