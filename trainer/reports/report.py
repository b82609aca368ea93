"""A report on one model that a person wants to look at: Markdown and the same as one HTML page, with pictures."""

from __future__ import annotations

import csv
import html
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markdown_it import MarkdownIt
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from kosearch.sts_metrics import StsMetrics, StsPair, spearman, sts_metrics
from trainer.data.query_sets import QuerySet, read_korquad
from trainer.data.sts_files import read_sts_file
from trainer.evaluation.encoding import encode, load_model
from trainer.evaluation.retrieval_evaluation import dense_ranking
from trainer.evaluation.retrieval_metrics import figures_by_query
from trainer.reports.plots import (
    draw_cosines_by_label,
    draw_genres,
    draw_learning_curve,
    draw_recall,
    draw_scores_against_labels,
)
from trainer.reports.tables import RETRIEVAL_COLUMNS, STS_COLUMNS, markdown_table, model_label
from trainer.reports.training_log import read_training_log, training_folder

_WORST_PAIRS = 15
_RECALL_RANKS = 100
_SMALLEST_GENRE = 10

_PAGE = """<!doctype html>
<html lang="ko">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
 body {{ max-width: 62rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.55 system-ui, sans-serif; color: #1f2937 }}
 h1, h2 {{ line-height: 1.25 }} h2 {{ margin-top: 2.5rem; border-bottom: 1px solid #e5e7eb; padding-bottom: .3rem }}
 img {{ max-width: 100%; height: auto }}
 table {{ border-collapse: collapse; font-size: .9rem; display: block; overflow-x: auto }}
 th, td {{ padding: .35rem .7rem; border-bottom: 1px solid #e5e7eb; vertical-align: top }}
 th {{ background: #f3f4f6; text-align: left }}
 code {{ background: #f3f4f6; padding: .1rem .3rem; border-radius: 3px }}
</style>
<body>
{body}
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class ScoredSts:
    """An STS set that a model has scored. `cosines` (pairs,), `genres` empty for a file without that column."""

    name: str
    pairs: list[StsPair]
    ids: list[str]
    genres: list[str]
    cosines: NDArray[np.float64]
    metrics: StsMetrics

    @property
    def gold(self) -> NDArray[np.float64]:
        """Labels from 0 to 5, shape (pairs,)."""
        return np.array([pair.score for pair in self.pairs])


def write_report(model: str, sts: Path | None, korquad: Path | None, output: Path) -> Path:
    """Measure a model, draw what was measured and what its training has logged, and write `report.md` and `.html`.

    Returns the page. Parts for which there is neither a file nor a log are left out.
    """
    output.mkdir(parents=True, exist_ok=True)
    encoder = load_model(model) if sts is not None or korquad is not None else None
    parts = [f"# {model_label(model)}", *_training_part(training_folder(Path(model)), output)]
    if encoder is not None and sts is not None:
        parts += _sts_part(score_sts(encoder, sts), output)
    if encoder is not None and korquad is not None:
        parts += _retrieval_part(encoder, *read_korquad(korquad), output)
    text = "\n\n".join(parts) + "\n"
    (output / "report.md").write_text(text, encoding="utf-8")
    page = output / "report.html"
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    page.write_text(_PAGE.format(title=html.escape(model_label(model)), body=body), encoding="utf-8")
    return page


def score_sts(model: SentenceTransformer, path: Path) -> ScoredSts:
    """Let a model score every pair of an STS file."""
    pairs = read_sts_file(path)
    first, second = encode(model, [p.first for p in pairs]), encode(model, [p.second for p in pairs])  # (pairs, dim)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines = np.asarray((first * second).sum(axis=1) / np.maximum(lengths, 1e-12), dtype=np.float64)
    genres, ids = read_genres(path) if path.suffix != ".csv" else ([], [])
    ids = ids or [f"row {row}" for row in range(2, len(pairs) + 2)]
    metrics = sts_metrics(first, second, np.array([pair.score for pair in pairs]))
    return ScoredSts(path.stem, pairs, ids, genres, cosines, metrics)


def read_genres(path: Path) -> tuple[list[str], list[str]]:
    """`genre / file` and `file year #id` of every pair of a KorSTS file that `read_sts_file` has accepted."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    return [f"{row[0]} / {row[1]}" for row in rows], [f"{row[1]} {row[2]} #{row[3]}" for row in rows]


def genre_scores(scored: ScoredSts) -> list[tuple[str, float, int]]:
    """(genre, cosine Spearman, pairs) of every genre with at least ten pairs, the best first."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, genre in enumerate(scored.genres):
        rows[genre].append(row)
    scores = [
        (genre, spearman(scored.cosines[found], scored.gold[found]), len(found))
        for genre, found in rows.items()
        if len(found) >= _SMALLEST_GENRE
    ]
    return sorted(scores, key=lambda score: -score[1])


def rank_differences(scored: ScoredSts) -> NDArray[np.float64]:
    """How far each pair's rank by cosine is above its rank by label, as a share of all pairs: in (-1, 1)."""
    places = [values.argsort(kind="stable").argsort(kind="stable") for values in (scored.cosines, scored.gold)]
    return np.asarray((places[0] - places[1]) / len(scored.pairs), dtype=np.float64)


def _training_part(folder: Path, output: Path) -> list[str]:
    logs = read_training_log(folder)
    if not logs:
        return []
    draw_learning_curve(logs, output / "learning-curve.png")
    rows = [
        [
            log.stage,
            str(max([*log.loss.steps, *log.dev_score.steps])),
            f"{log.loss.values[0]:.3f} → {log.loss.values[-1]:.3f}" if log.loss.values else "-",
            f"{100 * max(log.dev_score.values):.2f}" if log.dev_score.values else "-",
        ]
        for log in logs
    ]
    columns = ["Stage", "Steps", "Loss, first → last logged", "Best KorSTS dev Spearman"]
    return ["## Training", "![Learning curve](learning-curve.png)", markdown_table(columns, rows)]


def _sts_part(scored: ScoredSts, output: Path) -> list[str]:
    metrics = scored.metrics
    draw_scores_against_labels(
        scored.gold, scored.cosines, metrics.cosine_spearman, metrics.cosine_pearson, output / "score-against-label.png"
    )
    draw_cosines_by_label(scored.gold, scored.cosines, output / "cosines-by-label.png")
    values = [f"{100 * getattr(metrics, name):.2f}" for name in STS_COLUMNS.values()]
    parts = [
        f"## Sentence similarity: {scored.name}",
        markdown_table(["Pairs", *STS_COLUMNS], [[str(metrics.pair_count), *values]]),
        "![Score against label](score-against-label.png)",
        "![Cosines by label](cosines-by-label.png)",
    ]
    genres = genre_scores(scored)
    if genres:
        names, scores, counts = zip(*genres, strict=True)
        draw_genres(names, scores, counts, metrics.cosine_spearman, output / "genres.png")
        rows = [[genre, f"{100 * score:.2f}", str(count)] for genre, score, count in genres]
        parts += ["### By genre", "![Genres](genres.png)", markdown_table(["Genre", "Cosine Spearman", "Pairs"], rows)]
    return [*parts, *_worst_pairs(scored)]


def _worst_pairs(scored: ScoredSts) -> list[str]:
    differences = rank_differences(scored)
    parts = ["### Worst pairs", "Rank: place among all pairs by cosine and by label, from 0 (least alike) to 100."]
    for title, order in (("Taken for more alike than they are", -differences), ("For less alike", differences)):
        rows = [_pair_row(scored, row, differences[row]) for row in np.argsort(order, kind="stable")[:_WORST_PAIRS]]
        columns = ["Id", "Label", "Cosine", "Rank off by", "Sentences"]
        parts += [f"**{title}**", markdown_table(columns, rows)]
    return parts


def _pair_row(scored: ScoredSts, row: int, difference: float) -> list[str]:
    pair = scored.pairs[row]
    texts = f"{in_cell(pair.first)} — {in_cell(pair.second)}"
    return [
        in_cell(scored.ids[row]),
        f"{pair.score:.2f}",
        f"{scored.cosines[row]:.2f}",
        f"{100 * difference:+.0f}",
        texts,
    ]


def _retrieval_part(model: SentenceTransformer, questions: QuerySet, paragraphs: list[str], output: Path) -> list[str]:
    queries, documents = encode(model, list(questions.queries.values())), encode(model, paragraphs)
    ranking = dense_ranking(questions, queries, documents)
    figures = {name: float(values.mean()) for name, values in figures_by_query(ranking, questions.relevant).items()}
    draw_recall(recall_curve(ranking, questions), output / "recall.png")
    counts = [f"{len(questions.queries):,}", f"{len(paragraphs):,}"]
    values = [f"{100 * figures[name]:.2f}" for name in RETRIEVAL_COLUMNS.values()]
    return [
        "## Retrieval: KorQuAD dev, question → paragraph",
        markdown_table(["Questions", "Paragraphs", *RETRIEVAL_COLUMNS], [[*counts, *values]]),
        "![Recall](recall.png)",
    ]


def recall_curve(ranking: dict[str, list[str]], questions: QuerySet) -> NDArray[np.float64]:
    """Share of queries with a relevant document among the first k, for k from 1 to 100 or what was ranked: (ranks,)."""
    length = min(_RECALL_RANKS, max(map(len, ranking.values())))
    hits = np.zeros(length)
    for query, documents in ranking.items():
        relevant: Sequence[int] = [
            rank for rank, document in enumerate(documents[:length]) if document in questions.relevant[query]
        ]
        if relevant:
            hits[relevant[0] :] += 1
    return np.asarray(hits / len(ranking), dtype=np.float64)


def in_cell(text: str) -> str:
    """A text that Markdown takes as it is, inside a table's cell."""
    escaped = "".join(f"\\{char}" if char in "\\`*_[]<>|~#!&" else char for char in text)
    return " ".join(escaped.split())
