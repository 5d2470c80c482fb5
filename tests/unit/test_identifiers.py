"""Ids sort by creation, which keeps their index narrow."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from sagas.models.identifiers import uuid7


class TestUuid7:
    def test_is_a_version_7_uuid_of_the_rfc_variant(self) -> None:
        made = uuid7()
        assert made.version == 7
        assert made.variant == uuid.RFC_4122

    def test_is_greater_than_the_one_before(self) -> None:
        made = [uuid7() for _ in range(10_000)]
        assert made == sorted(set(made))
        assert [str(one) for one in made] == sorted(str(one) for one in made)

    def test_begins_with_the_milliseconds_of_now(self) -> None:
        before = time.time_ns() // 1_000_000
        milliseconds = uuid7().int >> 80
        assert before <= milliseconds <= time.time_ns() // 1_000_000 + 50

    def test_is_never_the_same_in_two_threads(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            made = [one for batch in pool.map(_many, range(8)) for one in batch]
        assert len(set(made)) == len(made)


def _many(_: int) -> list[uuid.UUID]:
    return [uuid7() for _ in range(500)]
