"""No two publishes have the same number of the same publisher."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from celery_ranch.engines.publishers import Publishers
from celery_ranch.scheduling.model import Publish


def test_publishes_one_after_the_other_are_numbered_by_one_publisher() -> None:
    publishers = Publishers()
    made = []
    for _ in range(3):
        with publishers.publish() as publish:
            made.append(publish)
    name = made[0].publisher
    assert made == [Publish(name, 1), Publish(name, 2), Publish(name, 3)]


def test_a_publisher_makes_one_publish_at_a_time() -> None:
    publishers = Publishers()
    with publishers.publish() as outer, publishers.publish() as inner:
        assert outer.publisher != inner.publisher
    with publishers.publish() as next_one:
        assert next_one.publisher in {outer.publisher, inner.publisher}
        assert next_one.number == 2


def test_a_publish_that_failed_does_not_give_its_number_to_the_next() -> None:
    publishers = Publishers()
    with pytest.raises(OSError, match="cut off"), publishers.publish() as failed:
        raise OSError("cut off")
    with publishers.publish() as publish:
        assert publish == Publish(failed.publisher, failed.number + 1)


def test_threads_never_share_a_number() -> None:
    publishers = Publishers()
    together = threading.Barrier(8)

    def publish_often(_: int) -> list[Publish]:
        together.wait(20)
        made = []
        for _ in range(500):
            with publishers.publish() as publish:
                made.append(publish)
        return made

    with ThreadPoolExecutor(8) as threads:
        made = [one for many in threads.map(publish_often, range(8)) for one in many]
    assert len(set(made)) == len(made) == 4_000
    assert len({publish.publisher for publish in made}) <= 8


def test_publishers_of_two_applications_have_different_names() -> None:
    with Publishers().publish() as one, Publishers().publish() as other:
        assert one.publisher != other.publisher
