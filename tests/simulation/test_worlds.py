"""Histories of the simulated world. SIMULATION_SEEDS=FIRST:END chooses others, and many more, than the default."""

import gc
import os
from collections.abc import Iterable, Iterator

import pytest
import structlog

from kosearch.ledger import Ledger
from tests.simulation.world import run_seed

DEFAULT_SEEDS = "0:40"
SEEDS_IN_A_CASE = 5


def batches() -> list[range]:
    """Return the seeds to run, a few a case."""
    first, end = map(int, os.environ.get("SIMULATION_SEEDS", DEFAULT_SEEDS).split(":"))
    return [range(start, min(start + SEEDS_IN_A_CASE, end)) for start in range(first, end, SEEDS_IN_A_CASE)]


def failures(seeds: Iterable[int]) -> Iterator[str]:
    """Run histories. Yields a line for each one that went wrong, with the command that replays it."""
    for seed in seeds:
        try:
            run_seed(seed)
        except Exception as error:
            replay = f"python -m tests.simulation.world --seed {seed} --trace"
            yield f"seed {seed}: {type(error).__name__}: {error}\n    replay: {replay}"


# A worker that is killed closes nothing.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    """Workers that die and neighbours that are away are the subject here, and no news."""
    with structlog.testing.capture_logs():
        yield
    gc.collect()  # what killed workers left open is found here, and not in another test


@pytest.mark.parametrize("seeds", batches(), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_every_history_comes_to_a_good_end(seeds: range) -> None:
    """Whatever dies, freezes, is lost or jumps: jobs end, and the store holds what the sources and clients say."""
    failed = list(failures(seeds))
    assert not failed, "\n".join(["a history went wrong", *failed])


def test_a_seed_has_one_history() -> None:
    """So that it can be replayed."""
    assert run_seed(3) == run_seed(3)


def test_documents_that_are_stored_unannounced_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world in which everything is well proves nothing unless this bug makes it go wrong."""
    monkeypatch.setattr(Ledger, "begin_documents", lambda *_: None)
    assert next(failures(range(40)), None) is not None


def test_older_versions_that_win_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rare as it is that a push overtakes a job: nobody asks what is newer, and one of these histories goes wrong."""
    monkeypatch.setattr("kosearch.ledger.ledger.newer_documents", lambda *_: frozenset())
    assert next(failures([53, 56, *range(40, 100)]), None) is not None


def test_words_of_an_earlier_dictionary_that_stay_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rare as it is that a change and its reanalysis fall between finding words and writing them."""
    monkeypatch.setattr("indexer_worker.words.CurrentWords.settle", lambda *_: None)
    assert any("other words" in failed for failed in failures([75, *range(100, 200)]))
