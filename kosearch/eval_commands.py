"""The commands that measure: `kosearch eval sts`, `retrieval`, `known-items`, `robustness`, `quantisation`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kosearch.cli_options import AsJson, DataDir, print_json
from kosearch.client import Client, ModelInfo
from kosearch.errors import ConflictError, InvalidRequestError, KosearchError
from kosearch.evaluation.known_item_search import evaluate_known_items
from kosearch.evaluation.known_items import KnownItem, known_items
from kosearch.evaluation.plots import check_plot, draw_bars, retrieval_bars, robustness_bars
from kosearch.evaluation.quantisation import QuantisationReport, forms, measure, recommend
from kosearch.evaluation.query_embeddings import encode_all, trained_dimensions
from kosearch.evaluation.report import (
    TABLE_WIDTH,
    print_known_items,
    print_quantisation,
    print_retrieval,
    print_robustness,
    print_table,
)
from kosearch.evaluation.retrieval import evaluate_retrieval
from kosearch.evaluation.robustness import damage_all, evaluate_robustness
from kosearch.evaluation.searching import ClientSearch, EvaluatedMode
from kosearch.evaluation.trec_files import JudgedQueries, JudgedQuery, read_judged_queries, read_queries
from kosearch.search_client import AS_TYPED
from kosearch.settings import Settings, load_settings
from kosearch.sts_metrics import read_sts_pairs, sts_metrics

if TYPE_CHECKING:
    from kosearch.evaluation.collection_sample import CollectionSample

_MOST_EMBEDDINGS = 200_000
_QUANTISATION_ITEMS = 100
_SHOWN_IDS = 3
_ANY_QUERY = "검색"

eval_app = typer.Typer(
    help="모델과 검색을 평가합니다. / Measure a model, or the search of your own collection.", no_args_is_help=True
)
# Wider than most terminals, which wrap what they have no room for; rich would cut it.
_out = Console(highlight=False, soft_wrap=True, width=TABLE_WIDTH)
_errors = Console(stderr=True, highlight=False, soft_wrap=True)


class _Mode(StrEnum):
    """`EvaluatedMode` for typer, which takes no lists of literals."""

    DENSE = "dense"
    LEXICAL = "lexical"
    HYBRID = "hybrid"
    RERANKED = "reranked"


_CollectionName = Annotated[str, typer.Option("--collection", help="컬렉션 이름 / name of the collection")]
_Modes = Annotated[
    list[_Mode] | None,
    typer.Option(
        "--mode", help="검색 방법, 여러 번이면 비교 / how to search; several are compared (default: as `search`)"
    ),
]
_QueriesFile = Annotated[Path, typer.Option("--queries", help="질의 / queries: lines of `query id<TAB>text`")]
_QrelsFile = Annotated[
    Path, typer.Option("--qrels", help="정답 / judgements: lines of `query id 0 document id relevance`")
]
_Separator = Annotated[
    str,
    typer.Option(help="qrels의 문서 id를 여기서 자름 / cut ids of qrels here: '#' makes passages of MIRACL pages"),
]
_NoReading = Annotated[
    bool, typer.Option("--no-reading", help="질의를 친 그대로 / search for the queries as they were typed")
]
_Seed = Annotated[int, typer.Option(min=0, help="표본의 씨앗 / seed of what is drawn")]
_Plot = Annotated[Path | None, typer.Option(help="그림 파일 / picture: .svg, .png (kosearch[plots])")]


@eval_app.command()
def sts(
    file: Annotated[Path, typer.Argument(help="KorSTS 형식의 TSV / a TSV file like KorSTS")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """문장 유사도 8개 지표를 잽니다. / The eight metrics of the SentenceBERT-KoBERT README, for the served model."""
    pairs = read_sts_pairs(file)
    with Client(load_settings(data_dir).encoder) as client:
        first = encode_all(client, [pair.first for pair in pairs])
        second = encode_all(client, [pair.second for pair in pairs])
    metrics = sts_metrics(first, second, np.array([pair.score for pair in pairs]))
    if as_json:
        print_json(metrics)
        return
    rows = [
        [name, *(f"{100 * getattr(metrics, f'{name}_{kind}'):.2f}" for kind in ("pearson", "spearman"))]
        for name in ("cosine", "euclidean", "manhattan", "dot")
    ]
    print_table(["similarity", "Pearson", "Spearman"], rows, _out)


@eval_app.command()
def retrieval(
    collection: _CollectionName,
    queries: _QueriesFile,
    qrels: _QrelsFile,
    mode: _Modes = None,
    top_k: Annotated[int, typer.Option(min=1, max=1000, help="질의마다 볼 문서 수 / documents of a query")] = 100,
    passage_separator: _Separator = "",
    keeps_queries: _NoReading = False,
    plot: _Plot = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """정답을 아는 질의로 검색을 잽니다. / Measure the search of a collection by queries with known answers."""
    if plot:
        check_plot(plot)
    settings, judged = load_settings(data_dir), read_judged_queries(queries, qrels, passage_separator)
    with Client(settings.encoder) as client:
        modes = _modes(mode, client, collection)
        search = ClientSearch(client, collection, AS_TYPED if keeps_queries else None)
        with _progress(len(judged.queries) * len(modes)) as advance:
            report = evaluate_retrieval(search, collection, judged.queries, modes, top_k, advance)
    warnings = _warnings(settings, collection, judged)
    if plot:
        draw_bars(retrieval_bars(report), collection, "nDCG@10 x 100", plot)
    if as_json:
        print_json({"report": report, "warnings": warnings})
    else:
        print_retrieval(report, _out)


@eval_app.command("known-items")
def known_items_(
    collection: _CollectionName,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="표본 문서 수 / documents drawn")] = 300,
    seed: _Seed = 0,
    mode: _Modes = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """정답 없이 검색을 잽니다. / Measure a search without judgements: is each document found by what it says?"""
    settings = load_settings(data_dir)
    items = _sampled_items(settings, collection, count, seed)
    with Client(settings.encoder) as client:
        modes, search = _modes(mode, client, collection), ClientSearch(client, collection)
        with _progress(len(items) * len(modes)) as advance:
            report = evaluate_known_items(search, collection, items, modes, seed, advance)
    ambiguous = max((each.ambiguous for each in report.modes[0].recipes), default=0)
    if ambiguous:
        _warn("제목이나 본문이 여러 번 나옵니다 / titles or texts stand several times: see the column `ambiguous`")
    if as_json:
        print_json(report)
    else:
        print_known_items(report, _out)


@eval_app.command()
def robustness(
    collection: _CollectionName,
    queries: Annotated[Path | None, typer.Option(help="질의 / queries: lines of `query id<TAB>text`")] = None,
    qrels: Annotated[Path | None, typer.Option(help="정답 / judgements, as for `eval retrieval`")] = None,
    uses_known_items: Annotated[
        bool, typer.Option("--known-items", help="컬렉션의 문서로 만든 질의 / queries made of the documents themselves")
    ] = False,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="--known-items: 표본 문서 수 / documents drawn")] = 100,
    seed: _Seed = 0,
    mode: _Modes = None,
    passage_separator: _Separator = "",
    keeps_queries: _NoReading = False,
    plot: _Plot = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """질의를 망가뜨려 얼마나 견디는지 잽니다. / Measure what is left when queries are typed badly."""
    if plot:
        check_plot(plot)
    settings, warnings = load_settings(data_dir), list[str]()
    if uses_known_items and not queries and not qrels:
        asked = _as_judged(_sampled_items(settings, collection, count, seed))
    elif queries and qrels and not uses_known_items:
        judged = read_judged_queries(queries, qrels, passage_separator)
        asked, warnings = judged.queries, _warnings(settings, collection, judged)
    else:
        raise InvalidRequestError("give --queries and --qrels, or --known-items")
    damaged = damage_all(asked, seed)
    searches = len(asked) + sum(len(each.queries) for each in damaged)
    with Client(settings.encoder) as client:
        modes = _modes(mode, client, collection)
        search = ClientSearch(client, collection, AS_TYPED if keeps_queries else None)
        with _progress(searches * len(modes)) as advance:
            report = evaluate_robustness(search, collection, asked, damaged, modes, seed, advance)
    if plot:
        draw_bars(robustness_bars(report), collection, "share of nDCG@10 kept, %", plot)
    if as_json:
        print_json({"report": report, "warnings": warnings})
    else:
        print_robustness(report, _out)


@eval_app.command()
def quantisation(
    collection: _CollectionName,
    queries: Annotated[Path | None, typer.Option(help="질의 / queries: lines of `query id<TAB>text`")] = None,
    dimensions: Annotated[
        list[int] | None, typer.Option(min=1, help="이 차원도 / these, too (default: what the model card names)")
    ] = None,
    seed: _Seed = 0,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """임베딩을 얼마나 줄일 수 있는지 잽니다. / Choose a quantisation: recall lost against memory saved."""
    settings = load_settings(data_dir)
    texts = list(read_queries(queries).values()) if queries else None
    if texts is None:
        texts = [item.query for item in _sampled_items(settings, collection, _QUANTISATION_ITEMS, seed)]
    with Client(settings.encoder) as client, _sample(settings, collection) as sample:
        info = client.info()
        _check_model(sample, collection, info)
        asked = encode_all(client, texts, "query")
        chunks, embeddings = sample.count(), sample.embeddings(_MOST_EMBEDDINGS, seed)
    fewer = dimensions or trained_dimensions(settings.encoder.model)
    measured = measure(embeddings, asked, forms(info.dim, fewer), seed)
    best = recommend(measured).form
    notes = _quantisation_notes(chunks, len(embeddings), has_judged_queries=queries is not None, has_fewer=bool(fewer))
    report = QuantisationReport(collection, chunks, len(embeddings), len(asked), measured, best, notes)
    if as_json:
        print_json(report)
    else:
        print_quantisation(report, _out)


def _modes(chosen: list[_Mode] | None, client: Client, collection: str) -> list[EvaluatedMode]:
    """Return the modes to compare, none twice; without a choice, the one that the service takes by itself."""
    if not chosen:
        return [client.search_page(_ANY_QUERY, collection, 1).mode]
    return [mode.value for mode in dict.fromkeys(chosen)]


def _sample(settings: Settings, collection: str) -> "closing[CollectionSample]":
    # qdrant-client takes a second to load, which other commands need not wait.
    from kosearch.evaluation.collection_sample import CollectionSample  # noqa: PLC0415

    return closing(CollectionSample(settings.qdrant, collection))


def _check_model(sample: "CollectionSample", collection: str, model: ModelInfo) -> None:
    if sample.model_fingerprint() != model.fingerprint:
        raise ConflictError(
            f"collection {collection!r} was indexed with another model than {model.name}, which the service answers "
            "with: embeddings of different models cannot be compared. Serve the other model, or index again"
        )


def _sampled_items(settings: Settings, collection: str, count: int, seed: int) -> list[KnownItem]:
    with _sample(settings, collection) as sample:
        items = known_items(sample.documents(count, seed))
    if not items:
        raise InvalidRequestError(
            f"the documents of {collection!r} have neither titles nor sentences to make queries of; "
            "judge some queries for `kosearch eval retrieval`"
        )
    return items


def _as_judged(items: list[KnownItem]) -> list[JudgedQuery]:
    return [JudgedQuery(f"{item.recipe} {item.document.id}", item.query, {item.document.id: 1}) for item in items]


def _warnings(settings: Settings, collection: str, judged: JudgedQueries) -> list[str]:
    """Tell what makes the figures other than they look; each is printed as well."""
    warnings = []
    if judged.without_relevant:
        warnings.append(
            f"정답이 없는 질의 {judged.without_relevant:,}개는 뺐습니다 / "
            f"{judged.without_relevant:,} queries without a relevant document are left out"
        )
    relevant = judged.relevant_documents()
    try:
        with _sample(settings, collection) as sample:
            missing = sample.missing(relevant)
    except KosearchError as error:
        # The figures stand without it: who searches through a service need not reach its Qdrant.
        warnings.append(f"정답 문서가 있는지 보지 못했습니다 / documents of the qrels were not looked up: {error}")
    else:
        if missing:
            warnings.append(
                f"정답 문서 {len(relevant):,}건 가운데 {len(missing):,}건이 컬렉션에 없어 찾을 수 없습니다 / "
                f"{len(missing):,} of {len(relevant):,} relevant documents are not in the collection, and never found: "
                f"{', '.join(sorted(missing)[:_SHOWN_IDS])}{' …' if len(missing) > _SHOWN_IDS else ''}"
            )
    for warning in warnings:
        _warn(warning)
    return warnings


def _quantisation_notes(chunks: int, sampled: int, *, has_judged_queries: bool, has_fewer: bool) -> list[str]:
    notes = [
        "정확한 검색을 numpy로 흉내 냈습니다 / computed by exact search in numpy, as Qdrant would store them "
        "(docs/search.md); the links of its index (HNSW) take the same memory for all, and lose a little more of all",
        "rescored: 원본은 디스크에 남습니다 / the originals stay on disk and are read there",
    ]
    if sampled < chunks:
        notes.append("표본입니다 / a sample: among more chunks neighbours are nearer, and a little more is lost")
    if not has_judged_queries:
        notes.append("질의는 문서로 만든 것입니다 / the queries are made of documents; give your own by --queries")
    if not has_fewer:
        notes.append(
            "모델 카드에 더 적은 차원이 없습니다 / the model card names no fewer dimensions (try --dimensions)"
        )
    return notes


def _warn(message: str) -> None:
    _errors.print(f"주의 / note: {message}", style="yellow", markup=False)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Show how many of the searches are done while the block runs; not where nobody looks."""
    columns = (TextColumn("검색 / searches"), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_errors, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
