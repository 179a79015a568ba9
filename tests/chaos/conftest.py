"""What every case of chaos is given: chance from a seed, and how long to go on."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field

import pytest

#: CI breaks the same things in the same order each time.
_DEFAULT_SEED = 20_250_101


@dataclass(frozen=True)
class Chaos:
    """The chance of one case."""

    seed: int
    is_long: bool
    chance: random.Random = field(repr=False)

    def scale(self, short: int, long: int) -> int:
        """Return how often to do something: in CI, or when there is time."""
        return long if self.is_long else short


@pytest.fixture
def chaos(request: pytest.FixtureRequest) -> Chaos:
    """Chance that is the same for the same test and seed; a failure says the seed."""
    given = request.config.getoption("--chaos-seed")
    seed = _DEFAULT_SEED if given is None else given
    print(f"repeat this with --chaos-seed={seed} --chaos={request.config.getoption('--chaos')}")  # noqa: T201
    chance = random.Random(zlib.crc32(request.node.name.encode()) ^ seed)
    return Chaos(seed, request.config.getoption("--chaos") == "long", chance)
