"""When a collection's vector index is built, and when again after a failure."""

from dataclasses import dataclass

# A scan of so many KiB takes 7 to 10 ms, exact; below, an index is not worth its building. Qdrant's unit.
DEFAULT_THRESHOLD_KIB = 100_000
# Every build reads all points anew; with at least this share of them new the work stays proportional to the writes.
_LEAST_NEW_SHARE = 0.2
# A builder that dies of what it is given dies again; one that was killed for memory may find more of it later.
_MAX_FAILURES = 3
_PAUSES_S = (5.0, 60.0)
_PAUSE_WITHOUT_SPACE_S = 60.0


def wants_index(points: int, unindexed: int, point_bytes: int, threshold_kib: int) -> bool:
    """Tell whether so many unindexed points are worth a build. `threshold_kib` 0: building is deferred."""
    if threshold_kib == 0 or unindexed * point_bytes <= threshold_kib << 10:
        return False
    return unindexed > _LEAST_NEW_SHARE * points


@dataclass(slots=True)
class BuildAttempts:
    """The failures of building one collection's index since it last succeeded or was asked for. Times: monotonic."""

    failures: int = 0
    not_before_s: float = 0.0
    problem: str = ""

    @property
    def has_given_up(self) -> bool:
        """Tell whether it is tried no more until somebody asks again."""
        return self.failures >= _MAX_FAILURES

    def is_due(self, now_s: float) -> bool:
        """Tell whether it may be tried now."""
        return not self.has_given_up and now_s >= self.not_before_s

    def fail(self, now_s: float, problem: str) -> None:
        """Note a failure; after a few of them it is given up, and `problem` told."""
        self.failures += 1
        if self.has_given_up:
            self.problem = f"building the vector index failed {self.failures} times: {problem}"
        else:
            self.not_before_s = now_s + _PAUSES_S[self.failures - 1]

    def wait_for_space(self, now_s: float, problem: str) -> None:
        """Note that there was no room; it is tried again for as long as it takes."""
        self.not_before_s = now_s + _PAUSE_WITHOUT_SPACE_S
        self.problem = problem

    def forget(self) -> None:
        """Start anew."""
        self.failures, self.not_before_s, self.problem = 0, 0.0, ""
