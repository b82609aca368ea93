"""The commands `kosearch search` and `kosearch count`: what they ask, and how hits are printed."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kosearch.cli_options import AsJson, DataDir, print_json
from kosearch.client import Client
from kosearch.filters import parse_filter
from kosearch.search_client import (
    AS_TYPED,
    Explanation,
    Fusion,
    FusionMethod,
    Highlight,
    Hit,
    SearchMode,
    SearchOptions,
    SearchPage,
)
from kosearch.settings import load_settings
from protos.kosearch.v1 import search_pb2

_SNIPPET_CHARACTERS = 160
# Shown before the first word that answers the query.
_LEAD_CHARACTERS = 40

_out = Console(highlight=False, soft_wrap=True)
_notes = Console(stderr=True, highlight=False, soft_wrap=True)


_Collections = Annotated[
    list[str],
    typer.Option(
        "--collection", help="컬렉션 이름, 여러 번 가능 / name of the collection; several are searched as one"
    ),
]
_Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        help="조건, 여러 번 가능 / condition, repeatable: law=민법 law!=민법 law=민법|상법 rating>=8 open=true "
        'date>=2020-01 year="2023" (text)',
    ),
]
_AllowsUnindexed = Annotated[
    bool,
    typer.Option("--unindexed", help="색인 없는 필드도 거르기(느림) / filter by fields without index, too: slow"),
]


def search(
    collections: _Collections,
    query: Annotated[str, typer.Argument(help="질의 / what to look for")] = "",
    top_k: Annotated[int, typer.Option(min=1, max=1000, help="결과 수 / hits wanted")] = 10,
    filters: _Filters = None,
    mode: Annotated[
        SearchMode | None,
        typer.Option(
            help="뜻, 낱말, 둘 다 / by meaning, by word, or both (default: both, where the collection has words)"
        ),
    ] = None,
    shows_highlights: Annotated[
        bool, typer.Option("--highlight", help="질의의 낱말을 굵게 / mark the words of the query")
    ] = False,
    explains: Annotated[
        bool, typer.Option("--explain", help="점수의 까닭 / tell how each hit came by its score")
    ] = False,
    per_document: Annotated[
        int, typer.Option(min=0, max=10, help="문서마다 청크 수 / chunks of a document at most; counts documents")
    ] = 0,
    like: Annotated[list[str] | None, typer.Option(help="이 문서와 비슷한 것 / like this document (id)")] = None,
    unlike: Annotated[list[str] | None, typer.Option(help="이 문서와 다른 것 / unlike this document (id)")] = None,
    diversity: Annotated[
        float, typer.Option(min=0, max=1, help="비슷한 결과를 뒤로 / move down hits that say the same")
    ] = 0,
    fusion: Annotated[FusionMethod | None, typer.Option(help="합치는 방법 / how both lists become one")] = None,
    lexical_weight: Annotated[
        float, typer.Option(min=0, max=1, help="낱말의 비중 / weight of words in hybrid (default: the service's)")
    ] = 0,
    reranks: Annotated[
        bool, typer.Option("--rerank", help="토큰마다 다시 견줌 / compare the best once more, by token")
    ] = False,
    threshold: Annotated[float | None, typer.Option(help="이 점수부터 / leave out hits of a lower score")] = None,
    keeps_query: Annotated[
        bool, typer.Option("--no-reading", help="질의를 친 그대로 / search for the query as it was typed")
    ] = False,
    is_paged: Annotated[
        bool, typer.Option("--paged", help="다음 쪽의 토큰도 / print a token for the next page, too")
    ] = False,
    page_token: Annotated[str, typer.Option(help="앞선 답의 토큰 / token of an earlier answer")] = "",
    allows_unindexed: _AllowsUnindexed = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """뜻과 낱말로 찾습니다. / Search by meaning and by word."""
    options = SearchOptions(
        mode=mode,
        fusion=Fusion(fusion, lexical_weight) if fusion or lexical_weight else None,
        rerank=0 if reranks else None,
        threshold=threshold,
        chunks_per_document=per_document,
        highlights=shows_highlights,
        explains=explains,
        paged=is_paged,
        page_token=page_token,
        reading=AS_TYPED if keeps_query else None,
        diversity=diversity,
        like_ids=like or (),
        unlike_ids=unlike or (),
        more_collections=collections[1:],
    )
    wanted = _filter(filters, allows_unindexed=allows_unindexed)
    with Client(load_settings(data_dir).encoder) as client:
        page = client.search_page(query, collections[0], top_k, wanted, options)
    if as_json:
        print_json({"query": query, "collection": collections[0], **asdict(page)})
    else:
        _print_page(page, shows_highlights=shows_highlights)


def count(
    field: Annotated[str, typer.Argument(help="필드 / an indexed field")],
    collection: Annotated[str, typer.Option(help="컬렉션 이름 / name of the collection")],
    filters: _Filters = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="값의 수 / values shown")] = 20,
    allows_unindexed: _AllowsUnindexed = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """필드의 값마다 청크를 셉니다. / Count the chunks of each value of a field."""
    wanted = _filter(filters, allows_unindexed=allows_unindexed)
    with Client(load_settings(data_dir).encoder) as client:
        counts = client.count_values(collection, field, wanted, limit)
    if as_json:
        print_json({"collection": collection, "field": field, "values": counts})
        return
    table = Table("chunks", field, box=None, pad_edge=False)
    for each in counts:
        table.add_row(f"{each.chunks:,}", Text(_value_text(each.value), overflow="fold"))
    _out.print(table if counts else "값이 없습니다 / no values")


def _filter(expressions: list[str] | None, *, allows_unindexed: bool) -> search_pb2.Filter:
    return search_pb2.Filter(must=map(parse_filter, expressions or ()), allows_unindexed=allows_unindexed)


def _value_text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _print_page(page: SearchPage, *, shows_highlights: bool) -> None:
    if page.read_query:
        _notes.print(f"이렇게 찾았습니다 / searched for: {page.read_query}", markup=False)
    for rank, hit in enumerate(page.hits, start=1):
        _print_hit(rank, hit, is_marked=shows_highlights)
    if not page.hits:
        _out.print("결과가 없습니다 / no hits")
    if page.next_page_token:
        _notes.print(f"다음 쪽 / next page: --page-token {page.next_page_token}", markup=False)


def _print_hit(rank: int, hit: Hit, *, is_marked: bool) -> None:
    title = _marked(hit.title, [each for each in hit.highlights if each.is_in_title])
    line = Text(f"{rank:>3}  {hit.score:.4f}  {hit.id}")
    _out.print(line.append("  ").append(title) if hit.title else line)
    snippet = _snippet(hit.text, [each for each in hit.highlights if not each.is_in_title]) if is_marked else None
    _out.print(Text(" " * 14).append(snippet or _beginning(hit.text)))
    if hit.explanation:
        _out.print(Text(" " * 14 + _explained(hit.explanation), style="dim"))


def _beginning(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _SNIPPET_CHARACTERS else words[:_SNIPPET_CHARACTERS] + "…"


def _snippet(text: str, highlights: list[Highlight]) -> Text:
    """The part of the text round its first highlight, with the words of the query marked."""
    start = max(0, highlights[0].start - _LEAD_CHARACTERS) if highlights else 0
    start = 0 if start < _LEAD_CHARACTERS else start
    end = min(len(text), start + _SNIPPET_CHARACTERS)
    cut = _marked(text, highlights)[start:end]
    return Text("…" if start else "").append(cut).append("…" if end < len(text) else "")


def _marked(text: str, highlights: list[Highlight]) -> Text:
    # A line break or tab becomes one space, so that places stay what they are.
    marked = Text("".join(" " if character.isspace() else character for character in text))
    for each in highlights:
        marked.stylize("bold", each.start, each.end)
    return marked


def _explained(explanation: Explanation) -> str:
    legs = [
        f"뜻 / meaning #{explanation.dense_rank} ({explanation.dense_score:.4f})" if explanation.dense_rank else "",
        f"낱말 / words #{explanation.lexical_rank} ({explanation.lexical_score:.2f})"
        if explanation.lexical_rank
        else "",
        "" if explanation.max_sim is None else f"토큰 / tokens ({explanation.max_sim:.4f})",
        ", ".join(f"{each.term} x{each.count}" for each in explanation.matched_terms),
    ]
    return " · ".join(filter(None, legs))
