"""Two ranked lists into one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.search.fusion import Candidate, PointKey, from_dense, from_lexical, fuse, ranked
from encoder_service.search.requests import Fusion, FusionMethod, Place

KEYS = st.builds(PointKey, st.sampled_from("abcdefghij"), st.integers(0, 1))
SCORES = st.floats(-1, 40, allow_nan=False, width=32)
LEGS = st.dictionaries(KEYS, SCORES, max_size=12).map(lambda scores: ranked(scores, 1000))
FUSIONS = st.builds(
    Fusion, st.sampled_from(FusionMethod), st.floats(0.01, 0.99, allow_nan=False), st.integers(1, 1000), st.just(100)
)


def leg(*names: str, scores: tuple[float, ...] = ()) -> dict[PointKey, Place]:
    """Return a leg with points in this order."""
    given_scores = scores or tuple(float(-rank) for rank in range(len(names)))
    return ranked({PointKey(name): score for name, score in zip(names, given_scores, strict=True)}, 1000)


def names(candidates: list[Candidate]) -> str:
    return "".join(candidate.key.point_id for candidate in candidates)


def scores_of(candidates: list[Candidate]) -> dict[str, float]:
    return {candidate.key.point_id: candidate.score for candidate in candidates}


class TestRanks:
    """The best of a leg."""

    def test_equal_scores_are_ranked_by_point_then_collection(self) -> None:
        """Whatever order the engine gave."""
        scores = {PointKey("b"): 1.0, PointKey("a", 1): 1.0, PointKey("a", 0): 1.0, PointKey("c"): 2.0}
        assert [(key, place.rank) for key, place in ranked(scores, 3).items()] == [
            (PointKey("c"), 1),
            (PointKey("a", 0), 2),
            (PointKey("a", 1), 3),
        ]

    def test_a_leg_alone_keeps_scores_and_order(self) -> None:
        """Nothing is made of them."""
        only = leg("a", "b", scores=(0.5, 0.25))
        assert from_dense(only)[1] == Candidate(PointKey("b"), 0.25, dense=Place(2, 0.25))
        assert from_lexical(only)[0] == Candidate(PointKey("a"), 0.5, lexical=Place(1, 0.5))


class TestMethods:
    """What each makes of ranks and scores."""

    def test_scores_as_they_are(self) -> None:
        """30 of BM25 weigh as much as a cosine of 1; what only the words have is as near as the last by meaning."""
        fused = fuse(leg("a", "b", scores=(0.9, 0.5)), leg("b", "c", scores=(45.0, 15.0)), Fusion(lexical_weight=0.25))
        assert scores_of(fused) == pytest.approx(
            {"b": 0.75 * 0.5 + 0.25 * 1.5, "a": 0.75 * 0.9, "c": 0.75 * 0.5 + 0.25 * 0.5}
        )

    def test_scores_as_they_are_of_one_leg(self) -> None:
        """Nothing is found by meaning where nothing is near; words alone then order."""
        assert scores_of(fuse({}, leg("a", scores=(30.0,)), Fusion())) == pytest.approx({"a": 0.5})

    def test_reciprocal_ranks(self) -> None:
        """Each leg adds weight / (k + rank)."""
        fused = fuse(leg("a", "b"), leg("b", "c"), Fusion(FusionMethod.RRF, rrf_k=10, lexical_weight=0.25))
        assert names(fused) == "bac"
        assert scores_of(fused) == pytest.approx({"b": 0.75 / 12 + 0.25 / 11, "a": 0.75 / 11, "c": 0.25 / 12})

    def test_stretched_scores(self) -> None:
        """First is 1, last is 0, between them as it is."""
        fused = fuse(
            leg("a", "b", "c", scores=(0.9, 0.6, 0.5)),
            leg("b", scores=(7.0,)),
            Fusion(FusionMethod.WEIGHTED, lexical_weight=0.5),
        )
        assert scores_of(fused) == pytest.approx({"b": 0.5 * 0.25 + 0.5, "a": 0.5, "c": 0.0})

    def test_scores_by_their_distribution(self) -> None:
        """The mean is one half, three standard deviations above it are 1."""
        fused = fuse(leg("a", "b", "c", scores=(3.0, 2.0, 1.0)), {}, Fusion(FusionMethod.DBSF, lexical_weight=0.5))
        assert scores_of(fused) == pytest.approx({"a": 0.5 * 4 / 6, "b": 0.25, "c": 0.5 * 2 / 6})

    def test_a_leg_of_equal_scores_is_in_the_middle(self) -> None:
        """There is nothing to tell them apart by."""
        fused = fuse(leg("a", "b", scores=(2.0, 2.0)), {}, Fusion(FusionMethod.DBSF))
        assert set(scores_of(fused).values()) == {0.25}


class TestProperties:
    """Whatever the legs are."""

    @given(LEGS, LEGS, FUSIONS)
    def test_every_candidate_is_there_once_by_falling_score_with_its_places(
        self, dense: dict[PointKey, Place], lexical: dict[PointKey, Place], fusion: Fusion
    ) -> None:
        """None is lost, none is doubled; where scores are made of ranks or stretched, they are between 0 and 1."""
        fused = fuse(dense, lexical, fusion)
        assert sorted(candidate.key for candidate in fused) == sorted(dense.keys() | lexical.keys())
        assert fused == sorted(fused, key=lambda candidate: (-candidate.score, candidate.key))
        assert fusion.method is FusionMethod.LINEAR or all(0 <= each.score <= 1 + 1e-9 for each in fused)
        assert all(each.dense == dense.get(each.key) and each.lexical == lexical.get(each.key) for each in fused)

    @given(LEGS, LEGS, FUSIONS)
    def test_who_is_better_in_both_legs_is_better(
        self, dense: dict[PointKey, Place], lexical: dict[PointKey, Place], fusion: Fusion
    ) -> None:
        """Monotone in ranks; rounding apart."""
        scores = {candidate.key: candidate.score for candidate in fuse(dense, lexical, fusion)}
        both = [key for key in dense if key in lexical]
        for one in both:
            for other in both:
                if dense[one].rank < dense[other].rank and lexical[one].rank < lexical[other].rank:
                    assert scores[one] >= scores[other] - 1e-12

    @given(LEGS, LEGS, FUSIONS)
    def test_the_order_in_which_candidates_come_does_not_matter(
        self, dense: dict[PointKey, Place], lexical: dict[PointKey, Place], fusion: Fusion
    ) -> None:
        """Two engines that find the same give the same list."""

        def turned(leg: dict[PointKey, Place]) -> dict[PointKey, Place]:
            scores = {key: place.score for key, place in reversed(leg.items())}
            return ranked(scores, 1000)

        assert fuse(turned(dense), turned(lexical), fusion) == fuse(dense, lexical, fusion)
