"""How many points have which values of a field."""

import qdrant_edge as edge
from qdrant_client import grpc as pb

from standalone.store.translation.filters import filter_from_pb
from standalone.store.translation.support import ALWAYS_TRUE, require_supported

_DEFAULT_LIMIT = 10
_FACET = ALWAYS_TRUE | {"collection_name", "key", "filter", "limit", "exact"}


def facet_from_pb(message: pb.FacetCounts) -> edge.FacetRequest:
    """Return the request. Raises InvalidArgumentError or UnsupportedError."""
    require_supported(message, _FACET)
    return edge.FacetRequest(
        message.key,
        limit=message.limit if message.HasField("limit") else _DEFAULT_LIMIT,
        exact=message.exact,
        filter=filter_from_pb(message.filter) if message.HasField("filter") else None,
    )


def facet_hit_to_pb(hit: edge.FacetHit) -> pb.FacetHit:
    """Return a value and the number of points that have it."""
    return pb.FacetHit(value=_value_to_pb(hit.value), count=hit.count)


def _value_to_pb(value: str | int | bool) -> pb.FacetValue:
    if isinstance(value, bool):  # before int, which it is too
        return pb.FacetValue(bool_value=value)
    if isinstance(value, int):
        return pb.FacetValue(integer_value=value)
    return pb.FacetValue(string_value=value)
