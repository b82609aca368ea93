"""The eight STS metrics and the reader of KorSTS files."""

from pathlib import Path

import numpy as np
import pytest

from kosearch.errors import InvalidRequestError
from kosearch.sts_metrics import average_ranks, pearson, read_sts_pairs, spearman, sts_metrics

HEADER = "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2"


def sts_file(folder: Path, *rows: str) -> Path:
    path = folder / "sts.tsv"
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return path


def test_ties_share_their_average_rank() -> None:
    assert average_ranks(np.array([10.0, 20.0, 10.0, 5.0])).tolist() == [2.5, 4.0, 2.5, 1.0]


def test_correlations_agree_with_scipy_on_data_with_ties() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 20, 500).astype(float), rng.standard_normal(500)
    second += 0.1 * first
    assert pearson(first, second) == pytest.approx(stats.pearsonr(first, second).statistic, abs=1e-12)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)


def test_a_constant_side_has_correlation_zero() -> None:
    assert spearman(np.ones(5), np.arange(5.0)) == 0.0


def test_identical_geometry_gives_perfect_correlation() -> None:
    angles = np.linspace(0.0, 1.5, 8)
    first = np.tile([1.0, 0.0], (8, 1))
    second = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    metrics = sts_metrics(first, second, np.cos(angles))
    assert metrics.cosine_pearson == pytest.approx(1.0)
    assert metrics.dot_spearman == pytest.approx(1.0)
    assert metrics.euclidean_spearman == pytest.approx(1.0)
    assert metrics.manhattan_spearman == pytest.approx(1.0)
    assert metrics.pair_count == 8


def test_cosine_ignores_length_and_dot_does_not() -> None:
    first = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    second = np.array([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0]])
    metrics = sts_metrics(first, second, np.array([3.0, 5.0, 0.0]))
    assert metrics.cosine_spearman == pytest.approx(1.0)
    assert metrics.dot_spearman < 1.0


@pytest.mark.parametrize(
    ("first", "second", "gold"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), np.ones(2)),
        (np.ones((2, 3)), np.ones((2, 3)), np.ones(3)),
        (np.ones((1, 3)), np.ones((1, 3)), np.ones(1)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(first: np.ndarray, second: np.ndarray, gold: np.ndarray) -> None:
    with pytest.raises(InvalidRequestError):
        sts_metrics(first, second, gold)


def test_quotation_marks_are_text(tmp_path: Path) -> None:
    path = sts_file(tmp_path, 'news\tMSR\t2015\t1\t3.250\t"안녕"이라고 말했다.\t그가 "안녕했다.')
    assert [(p.first, p.second, p.score) for p in read_sts_pairs(path)] == [
        ('"안녕"이라고 말했다.', '그가 "안녕했다.', 3.25)
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a\tb\tc\td\t3.0\t문장", "expected 7 tab-separated columns, found 6"),
        ("a\tb\tc\td\t3.0\t문장\t문장\t남음", "found 8"),
        ("a\tb\tc\td\tx\t문장\t문장", "not a number"),
        ("a\tb\tc\td\t5.5\t문장\t문장", "outside 0-5"),
        ("a\tb\tc\td\t-1\t문장\t문장", "outside 0-5"),
        ("a\tb\tc\td\tnan\t문장\t문장", "outside 0-5"),
        ("a\tb\tc\td\t3.0\t\t문장", "empty"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, row: str, reason: str) -> None:
    path = sts_file(tmp_path, "a\tb\tc\td\t3.0\t문장\t문장", row)
    with pytest.raises(InvalidRequestError, match=reason) as caught:
        read_sts_pairs(path)
    assert f"{path}:3" in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="missing"):
        read_sts_pairs(tmp_path / "none.tsv")


def test_a_file_with_nothing_but_a_header_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="no pairs"):
        read_sts_pairs(sts_file(tmp_path))


def test_a_file_cut_inside_a_character_is_an_error(tmp_path: Path) -> None:
    path = sts_file(tmp_path, "a\tb\tc\td\t3.0\t문장\t문장")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InvalidRequestError, match="UTF-8"):
        read_sts_pairs(path)
