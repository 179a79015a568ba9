"""What must be true of a store at every instant, and what is said where it is not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Violation", "ViolationKind"]


class ViolationKind(str, Enum):
    """Each way in which a store can be wrong."""

    NOWHERE = "nowhere"
    """An entry is in no place: nobody will ever run it."""
    SEVERAL_PLACES = "several places"
    """An entry is in more than one place: it may run more than once."""
    UNREADABLE = "unreadable"
    """The record of an entry or a key cannot be read."""
    NO_ENTRY = "no entry"
    """A place names an entry that is not stored."""
    WRONG_PLACE = "wrong place"
    """An entry stands in a place that its record does not say."""
    UNKNOWN_KEY = "unknown key"
    """A key has a backlog and no record."""
    NOT_IN_INDEX = "not in index"
    """A key has entries to be served and does not stand for its turn."""
    STRAY_INDEX = "stray index"
    """A key, or a whole index, stands where nothing should."""
    NO_TIMER = "no timer"
    """A key's delayed entries will not come due."""
    STRAY_TIMER = "stray timer"
    """A timer is set for what is not the earliest delayed entry of its key."""
    NO_REASON = "no reason"
    """A dead letter does not say why it died."""
    STRAY_REASON = "stray reason"
    """There is a reason for a death, and no such dead letter."""
    WRONG_TAG = "wrong tag"
    """A key has a tag and is not found by it, or the reverse."""
    WRONG_COUNT = "wrong count"
    """A counter does not say what there is."""
    TOO_MANY_TOKENS = "too many tokens"
    """A queue has more than one wake-up token."""
    UNLISTED_QUEUE = "unlisted queue"
    """A queue has had entries and is not in the list of queues."""


_SENTENCES = {
    ViolationKind.NOWHERE: "entry {name!r} does not wait, is not leased and is not dead",
    ViolationKind.SEVERAL_PLACES: "entry {name!r} is in several places: {detail}",
    ViolationKind.UNREADABLE: "the record of {detail} {name!r} cannot be read",
    ViolationKind.NO_ENTRY: "{detail} has entry {name!r}, which is not stored",
    ViolationKind.WRONG_PLACE: "entry {name!r} is in {detail}, unlike its record says",
    ViolationKind.UNKNOWN_KEY: "key {name!r} has entries and no record",
    ViolationKind.NOT_IN_INDEX: "key {name!r} has entries to be served and no turn",
    ViolationKind.STRAY_INDEX: "{name!r} is in the index and should not be there",
    ViolationKind.NO_TIMER: "no timer is set for the earliest delayed entry of key {name!r}",
    ViolationKind.STRAY_TIMER: "a timer is set for key {name!r} and should not be",
    ViolationKind.NO_REASON: "dead letter {name!r} has no reason",
    ViolationKind.STRAY_REASON: "{name!r} has a reason to be dead and is no dead letter",
    ViolationKind.WRONG_TAG: "key {name!r} and tag {detail!r} belong together one way only",
    ViolationKind.WRONG_COUNT: "{name}: {detail}",
    ViolationKind.TOO_MANY_TOKENS: "there are {detail} wake-up tokens",
    ViolationKind.UNLISTED_QUEUE: "it has had entries and is not in the list of queues",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """Something in a store that can never be, unless somebody else wrote there.

    Example:
        >>> print(Violation("celery", ViolationKind.UNKNOWN_KEY, "acme"))
        queue 'celery': key 'acme' has entries and no record
    """

    queue: str
    kind: ViolationKind
    name: str = ""
    """The entry's id, the key or the counter it is about; empty: the queue itself."""
    detail: str = ""
    """What was found, where the kind does not say it."""

    def __str__(self) -> str:
        sentence = _SENTENCES[self.kind].format(name=self.name, detail=self.detail)
        return f"queue {self.queue!r}: {sentence}"
