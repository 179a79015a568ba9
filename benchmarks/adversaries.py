"""What somebody who wants more than their share gets, and what it costs the others."""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ideal import ideal_service
from page import markdown_table, put_into_page
from virtual import Attempt, Offer, run_virtually, seconds

from celery_ranch.demo.report import percentile
from celery_ranch.scheduling.model import KeyPath

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "evenness.md"

SLOTS = 4
UNTIL_US = 60_000_000
RUN_US = 100_000
LONG_US = 2_000_000

#: Tasks per second of those who want nothing but their own: of 40 in all, one
#: wants more than a share, two less, and one hardly anything.
STEADY = {"busy": 20.0, "half": 8.0, "light": 4.0, "quiet": 0.5}
ADVERSARY = "adversary"
TENANTS = (ADVERSARY, *STEADY)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What an adversary does beside tenants who send tasks at random."""

    name: str
    offers: tuple[Offer, ...]
    by_seconds: bool = False
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of tenants that have another than 1."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How tenants fared in a scenario."""

    name: str
    quiet_p50_seconds: float
    quiet_p95_seconds: float
    quiet_max_seconds: float
    plain_p95_seconds: float
    """What the quiet tenant waits where tasks run in the order they came in."""
    service: Mapping[str, float]
    """Seconds run of each tenant, in multiples of the ideal."""


def main(arguments: list[str] | None = None) -> int:
    """Run every scenario, print the table and write what is asked for; return the exit code."""
    options = _options(arguments)
    outcomes = [run(scenario) for scenario in scenarios(options.seed)]
    lines = [*_table(outcomes), "", f"Seed {options.seed}."]
    print("\n".join(lines))
    if options.write:
        put_into_page(PAGE, "adversaries", lines)
    if options.json is not None:
        document = {"seed": options.seed, "outcomes": [asdict(one) for one in outcomes]}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of random arrivals (1)")
    parser.add_argument("--write", action="store_true", help="write the page's table")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    return parser.parse_args(arguments)


def scenarios(seed: int) -> list[Scenario]:
    """Return every scenario; the others' tasks are the same in all of them."""
    others = tuple(_steady(random.Random(seed)))
    flood = tuple(Offer((ADVERSARY,), 0, RUN_US) for _ in range(3_000))
    long = tuple(replace(offer, run_us=LONG_US) for offer in flood[:300])
    storm = tuple(replace(offer, gives_itself_back=True) for offer in flood[:1_000])
    return [
        Scenario("flood", others + flood),
        Scenario("flood; busy has share 3", others + flood, shares={"busy": 3.0}),
        Scenario("trickle", others + _trickle(len(others))),
        Scenario("bursts", others + _bursts()),
        Scenario("retry storm", others + storm),
        Scenario("long tasks, each costs 1", others + long),
        Scenario('long tasks, cost="seconds"', others + long, by_seconds=True),
        Scenario("20 keys", others + _under(flood, keys=20, is_path=False)),
        Scenario("20 keys in a path", others + _under(flood, keys=20, is_path=True)),
        Scenario("a new key for each task", others + _under(flood, keys=3_000, is_path=False)),
        Scenario("the same in a path", others + _under(flood, keys=3_000, is_path=True)),
    ]


def run(scenario: Scenario) -> Outcome:
    """Run a scenario by the rule, in order of arrival and ideally, and compare."""
    offers = scenario.offers
    shares = {(tenant,): share for tenant, share in scenario.shares.items()}
    fair = run_virtually(
        offers, SLOTS, by_seconds=scenario.by_seconds, until_us=UNTIL_US, shares=shares
    )
    in_order = [replace(offer, key=("all",)) for offer in offers]
    plain = run_virtually(in_order, SLOTS)
    ideal = ideal_service(_asked_for(offers, fair), SLOTS, UNTIL_US, scenario.shares)
    waits = _quiet_waits(offers, fair)
    received: dict[str, float] = defaultdict(float)
    for one in fair:
        received[tenant_of(one.key)] += seconds(min(one.ended_us, UNTIL_US) - one.started_us)
    return Outcome(
        name=scenario.name,
        quiet_p50_seconds=percentile(waits, 50),
        quiet_p95_seconds=percentile(waits, 95),
        quiet_max_seconds=max(waits),
        plain_p95_seconds=percentile(_quiet_waits(offers, plain), 95),
        service={tenant: received[tenant] / ideal[tenant] for tenant in TENANTS},
    )


def tenant_of(key: KeyPath) -> str:
    """Return whose a key is: the adversary's keys begin with its name.

    Example:
        >>> tenant_of(("adversary-7",)), tenant_of(("adversary", "7")), tenant_of(("busy",))
        ('adversary', 'adversary', 'busy')
    """
    return key[0].partition("-")[0]


def _steady(chance: random.Random) -> list[Offer]:
    """Return the tasks of those who want nothing but their own, at random times."""
    offers = []
    for tenant, per_second in STEADY.items():
        at_us = 0.0
        while (at_us := at_us + chance.expovariate(per_second) * 1e6) < UNTIL_US:
            offers.append(Offer((tenant,), round(at_us), RUN_US))
    return offers


def _trickle(first: int) -> tuple[Offer, ...]:
    """Return twenty chains of tasks, each submitted at the end of the one before it.

    So its key comes back again and again, instead of having a backlog.
    """
    chains = 20
    return tuple(
        Offer(
            (ADVERSARY,), 0, RUN_US, follows=first + number - chains if number >= chains else None
        )
        for number in range(3_000)
    )


def _bursts() -> tuple[Offer, ...]:
    """Return forty tasks at once every two seconds, which is more than a share."""
    return tuple(
        Offer((ADVERSARY,), at_us, RUN_US)
        for at_us in range(0, UNTIL_US, 2_000_000)
        for _ in range(40)
    )


def _under(offers: Sequence[Offer], keys: int, is_path: bool) -> tuple[Offer, ...]:
    """Return tasks spread over so many keys, beside each other or below one."""
    spread = []
    for number, offer in enumerate(offers):
        name = str(number % keys)
        key = (ADVERSARY, name) if is_path else (f"{ADVERSARY}-{name}",)
        # New keys come all the time, a bit faster than they can be served.
        at_us = number * 20_000 if keys == len(offers) else 0
        spread.append(replace(offer, key=key, submit_us=at_us))
    return tuple(spread)


def _asked_for(offers: Sequence[Offer], attempts: Sequence[Attempt]) -> list[tuple[str, int, int]]:
    """Return what tenants asked for: what ran, from when it could have, and what never did."""
    ran = {one.offer for one in attempts}
    asked = [(tenant_of(one.key), one.due_us, one.ended_us - one.started_us) for one in attempts]
    return asked + [
        (tenant_of(offer.key), offer.submit_us, offer.run_us)
        for place, offer in enumerate(offers)
        if place not in ran and offer.follows is None
    ]


def _quiet_waits(offers: Sequence[Offer], attempts: Sequence[Attempt]) -> list[float]:
    """Return how long the quiet tenant's tasks waited; those that never ran, to the end."""
    waits = {
        place: seconds(UNTIL_US - offer.submit_us)
        for place, offer in enumerate(offers)
        if offer.key == ("quiet",)
    }
    waits |= {
        one.offer: seconds(one.started_us - one.due_us) for one in attempts if one.offer in waits
    }
    return list(waits.values())


def _table(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the outcomes as a table."""
    rows = [
        [
            one.name,
            f"{one.plain_p95_seconds:.2f}",
            f"{one.quiet_p50_seconds:.2f}",
            f"{one.quiet_p95_seconds:.2f}",
            f"{one.quiet_max_seconds:.2f}",
            *(f"{one.service[tenant]:.2f}" for tenant in TENANTS),
        ]
        for one in outcomes
    ]
    head = ["", "plain p95", "p50", "p95", "max", *TENANTS]
    return markdown_table(head, rows)


if __name__ == "__main__":
    sys.exit(main())
