"""What is asked of a search, and what it answers: the words that the rooms of this package share."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from kosearch.korean.reading import ReadingOptions


class Mode(StrEnum):
    """By what a query is searched for: its meaning, its words, or both."""

    DENSE = "dense"
    LEXICAL = "lexical"
    HYBRID = "hybrid"


class FusionMethod(StrEnum):
    """How two legs become one list; see `fusion`."""

    LINEAR = "linear"
    RRF = "rrf"
    WEIGHTED = "weighted"
    DBSF = "dbsf"


@dataclass(frozen=True, slots=True)
class Fusion:
    """How the legs of a hybrid search become one list; what stands here is the default, see docs/search.md.

    lexical_weight: above 0 and below 1; the dense leg has the rest
    rrf_k: 1 to 1,000
    candidates: from each leg, 1 to 1,000
    """

    method: FusionMethod = FusionMethod.LINEAR
    lexical_weight: float = 0.5
    rrf_k: int = 60
    candidates: int = 100


@dataclass(frozen=True, slots=True)
class Range:
    """A field is a number between bounds; None is open."""

    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, slots=True)
class DateRange:
    """A field is a date between bounds, each a day, month, year or time; an empty one is open."""

    gt: str = ""
    gte: str = ""
    lt: str = ""
    lte: str = ""


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A field equals one of these: texts or numbers, not both."""

    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Presence:
    """A field is missing, null or an empty list, or it is not."""

    is_missing: bool


Test: TypeAlias = str | int | bool | Range | DateRange | AnyOf | Presence


@dataclass(frozen=True, slots=True)
class Condition:
    """A document's field equals a value, or passes another test."""

    field: str
    test: Test


@dataclass(frozen=True, slots=True)
class Nested:
    """A field is a list of objects, one of which meets all of a filter by itself."""

    field: str
    filter: "Filter"


@dataclass(frozen=True, slots=True)
class Filter:
    """Of `must` all, of `should` at least one where there are any, of `must_not` none holds."""

    must: "tuple[Clause, ...]" = ()
    should: "tuple[Clause, ...]" = ()
    must_not: "tuple[Clause, ...]" = ()
    allows_unindexed: bool = False


Clause: TypeAlias = Condition | Nested | Filter


@dataclass(frozen=True, slots=True)
class Rerank:
    """The best candidates are compared with the query once more, token by token; see `reranking`.

    candidates: 1 to 200; 0 is the default
    """

    candidates: int = 0


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search as it was asked for, nothing checked yet.

    top_k: hits; documents where `chunks_per_document` groups them; 0 is the default
    mode: None is hybrid where the collection has words, else dense
    diversity: 0 to 1
    """

    query: str
    collection: str
    top_k: int = 0
    filter: Filter = Filter()
    mode: Mode | None = None
    fusion: Fusion = Fusion()
    rerank: Rerank | None = None
    score_threshold: float | None = None
    chunks_per_document: int = 0
    with_highlights: bool = False
    with_explanations: bool = False
    is_paged: bool = False
    page_token: str = ""
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    diversity: float = 0.0
    like_ids: tuple[str, ...] = ()
    unlike_ids: tuple[str, ...] = ()
    more_collections: tuple[str, ...] = ()

    @property
    def collections(self) -> tuple[str, ...]:
        """All collections that are searched."""
        return (self.collection, *self.more_collections)

    @property
    def example_ids(self) -> tuple[str, ...]:
        """Documents to search like and unlike."""
        return (*self.like_ids, *self.unlike_ids)


@dataclass(frozen=True, slots=True)
class Highlight:
    """A stretch of a hit's text or title that answers a word of the query; code points, `end` behind the last one."""

    start: int
    end: int
    is_in_title: bool
    term: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a leg has a chunk: rank from 1, and the score there."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a hit came by its score. None: it was not among the candidates of that leg, or was not reranked."""

    dense: Place | None
    lexical: Place | None
    max_sim: float | None = None
    matched_terms: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that answers a query; `fields` are the document's own."""

    document_id: str
    score: float
    text: str
    title: str
    fields: dict[str, Any]
    chunk_index: int
    collection: str = ""
    highlights: tuple[Highlight, ...] = ()
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Hits by falling score. `read_query`: what was searched for where it is not what was asked."""

    hits: list[Hit] = field(default_factory=list)
    next_page_token: str = ""
    read_query: str = ""
    mode: Mode = Mode.DENSE


@dataclass(frozen=True, slots=True)
class ValueCount:
    """A value of a field, and the chunks that have it."""

    value: str | int | bool
    chunks: int
