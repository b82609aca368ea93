"""What a search may ask for: numbers within bounds, a query that is one."""

from encoder_service.search.filtering import check_filter
from encoder_service.search.requests import Fusion, Rerank, SearchRequest
from kosearch.errors import InvalidRequestError
from kosearch.text import normalise

MAX_LEG = 1000

_MAX_QUERY_CHARACTERS = 10_000
# White space and invisible characters go; more of them than this is not worth the work of removing them.
_MAX_RAW_CHARACTERS = 100_000
_DEFAULT_TOP_K = 10
_MAX_TOP_K = 1000
_MAX_CHUNKS_PER_DOCUMENT = 10
_MAX_RRF_K = 1000
_MAX_RERANKED = 200
_RERANKED = 20
_MAX_EXAMPLES = 16
_MAX_MORE_COLLECTIONS = 15
_DEFAULT_VALUES = 20
_MAX_VALUES = 1000
# Of the chunks of one document several may be among the candidates.
_CANDIDATES_A_DOCUMENT = 3


def check_request(request: SearchRequest) -> None:
    """Raise InvalidRequestError for whatever can be seen to be wrong without asking anybody."""
    _check_query(request)
    _check_fusion(request.fusion)
    check_filter(request.filter)
    if request.rerank is not None:
        _check_rerank(request, request.rerank)
    if request.score_threshold is not None and request.score_threshold != request.score_threshold:
        raise InvalidRequestError("score_threshold is not a number; leave it out to get all hits")
    if not 0 <= request.diversity <= 1:
        raise InvalidRequestError(f"diversity is {request.diversity:g}; it goes from 0 (as scored) to 1")
    if not 0 <= request.chunks_per_document <= _MAX_CHUNKS_PER_DOCUMENT:
        raise InvalidRequestError(
            f"chunks_per_document is {request.chunks_per_document:,}; ask for 1 to {_MAX_CHUNKS_PER_DOCUMENT}, or 0 "
            "for chunks as they come"
        )
    wanted_hits(request)
    if max(len(request.like_ids), len(request.unlike_ids)) > _MAX_EXAMPLES:
        raise InvalidRequestError(f"search like and unlike at most {_MAX_EXAMPLES} documents each")
    if len(request.more_collections) > _MAX_MORE_COLLECTIONS:
        raise InvalidRequestError(f"search at most {_MAX_MORE_COLLECTIONS + 1} collections at once")
    if len(set(request.collections)) < len(request.collections):
        raise InvalidRequestError("a collection is named twice; name each once")


def wanted_hits(request: SearchRequest) -> int:
    """Return how many hits, or documents, a page is to have. Raises InvalidRequestError."""
    if not 0 <= request.top_k <= _MAX_TOP_K:
        raise InvalidRequestError(
            f"top_k is {request.top_k:,}; ask for 1 to {_MAX_TOP_K:,} hits, or 0 for {_DEFAULT_TOP_K}"
        )
    return request.top_k or _DEFAULT_TOP_K


def wanted_values(limit: int) -> int:
    """Return how many values of a field are to be counted. Raises InvalidRequestError."""
    if not 0 <= limit <= _MAX_VALUES:
        raise InvalidRequestError(
            f"limit is {limit:,}; ask for 1 to {_MAX_VALUES:,} values, or 0 for {_DEFAULT_VALUES}"
        )
    return limit or _DEFAULT_VALUES


def reranked_candidates(request: SearchRequest) -> int:
    """Return how many of the best candidates are compared with the query once more: those that may be shown."""
    if request.rerank is None:
        return 0
    return request.rerank.candidates or min(_MAX_RERANKED, max(_RERANKED, wanted_hits(request)))


def leg_length(request: SearchRequest, *, is_fused: bool) -> int:
    """Return how many candidates each leg is asked for.

    The order of a fused list depends on it, so that pages do not change it; that of a single leg does not.
    """
    wanted = wanted_hits(request) * (_CANDIDATES_A_DOCUMENT if request.chunks_per_document else 1)
    wanted = max(wanted, reranked_candidates(request))
    if is_fused or request.diversity:
        return min(MAX_LEG, max(wanted, request.fusion.candidates))
    return MAX_LEG if request.is_paged else min(MAX_LEG, wanted)


def _check_query(request: SearchRequest) -> None:
    length = len(request.query)
    if length <= _MAX_RAW_CHARACTERS:
        length = len(normalise(request.query))
    if length > _MAX_QUERY_CHARACTERS:
        raise InvalidRequestError(
            f"the query has {length:,} characters, {_MAX_QUERY_CHARACTERS:,} are accepted; shorten it"
        )
    if not length and not request.like_ids:
        raise InvalidRequestError(
            "the query is empty; search for a word or a sentence, or name documents to search like"
        )


def _check_rerank(request: SearchRequest, rerank: Rerank) -> None:
    if not 0 <= rerank.candidates <= _MAX_RERANKED:
        raise InvalidRequestError(
            f"rerank.candidates is {rerank.candidates:,}; compare 1 to {_MAX_RERANKED} once more, or 0 for the default"
        )
    if not request.query.strip():
        raise InvalidRequestError(
            "reranking compares chunks with the words of a query, and there is none; ask a query, or leave rerank out"
        )


def _check_fusion(fusion: Fusion) -> None:
    if not 0 < fusion.lexical_weight < 1:
        raise InvalidRequestError(
            f"lexical_weight is {fusion.lexical_weight:g}; it lies between 0 and 1. To search by meaning or by words "
            "alone, choose mode dense or lexical"
        )
    if not 1 <= fusion.rrf_k <= _MAX_RRF_K:
        raise InvalidRequestError(f"rrf_k is {fusion.rrf_k:,}; it goes from 1 to {_MAX_RRF_K:,}")
    if not 1 <= fusion.candidates <= MAX_LEG:
        raise InvalidRequestError(f"candidates is {fusion.candidates:,}; take 1 to {MAX_LEG:,} from each leg")
