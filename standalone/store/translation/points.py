"""Points, what to return with them, and queries."""

from collections.abc import Sequence
from typing import Any

import qdrant_edge as edge
from qdrant_client import grpc as pb

from standalone.store.errors import InvalidArgumentError, UnsupportedError
from standalone.store.translation.filters import filter_from_pb
from standalone.store.translation.support import ALWAYS_TRUE, require_supported
from standalone.store.translation.values import (
    PointId,
    payload_from_pb,
    payload_to_pb,
    point_id_from_pb,
    point_id_to_pb,
)
from standalone.store.translation.vector_index import search_params_from_pb
from standalone.store.translation.vectors import VectorSpace, query_vector_from_pb, vectors_from_pb, vectors_to_pb

_DEFAULT_LIMIT = 10
_QUERY = ALWAYS_TRUE | {
    "collection_name",
    "query",
    "using",
    "filter",
    "params",
    "score_threshold",
    "limit",
    "offset",
    "with_vectors",
    "with_payload",
}
_SCROLL = ALWAYS_TRUE | {"collection_name", "filter", "offset", "limit", "with_payload", "with_vectors"}


def points_from_pb(messages: Sequence[pb.PointStruct], space: VectorSpace) -> list[edge.Point]:
    """Return the points. Raises InvalidArgumentError, for all of them, when one is wrong."""
    if not messages:
        raise InvalidArgumentError("Bad request: Empty update request")
    try:
        return [
            edge.Point(
                point_id_from_pb(message.id), vectors_from_pb(message.vectors, space), payload_from_pb(message.payload)
            )
            for message in messages
        ]
    except ValueError as error:  # a payload number that JSON does not have
        raise InvalidArgumentError(f"Wrong input: {error}") from error


def point_vectors_from_pb(messages: Sequence[pb.PointVectors], space: VectorSpace) -> list[edge.PointVectors]:
    """Return points' new vectors. Raises InvalidArgumentError, for all of them, when one is wrong."""
    if not messages:
        raise InvalidArgumentError("Bad request: Empty update request")
    return [
        edge.PointVectors(point_id_from_pb(message.id), vectors_from_pb(message.vectors, space)) for message in messages
    ]


def vector_names_from_pb(message: pb.DeletePointVectors, space: VectorSpace) -> list[str]:
    """Return the names of the vectors to delete. Raises InvalidArgumentError on one that no vector has."""
    if not message.HasField("vectors"):
        raise InvalidArgumentError("vectors is expected")
    for name in message.vectors.names:
        space.check_name(name)
    return list(message.vectors.names)


def point_ids_from_pb(messages: Sequence[pb.PointId]) -> list[PointId]:
    """Return the ids. Raises InvalidArgumentError."""
    return [point_id_from_pb(message) for message in messages]


def selector_from_pb(message: pb.PointsSelector) -> list[PointId] | edge.Filter:
    """Return ids or the filter. Raises InvalidArgumentError when neither is given."""
    match message.WhichOneof("points_selector_one_of"):
        case "points":
            return point_ids_from_pb(message.points.ids)
        case "filter":
            return filter_from_pb(message.filter)
        case _:
            raise InvalidArgumentError("PointSelector is missing")


def query_from_pb(message: pb.QueryPoints, space: VectorSpace) -> edge.QueryRequest:
    """Return a nearest-neighbour query. Raises InvalidArgumentError or UnsupportedError."""
    require_supported(message, _QUERY)
    return edge.QueryRequest(
        limit=_limit(message),
        offset=message.offset or None,
        query=edge.Query.Nearest(_query_vector(message, space), message.using or None),
        filter=filter_from_pb(message.filter) if message.HasField("filter") else None,
        score_threshold=message.score_threshold if message.HasField("score_threshold") else None,
        params=search_params_from_pb(message.params) if message.HasField("params") else None,
        with_payload=with_payload_from_pb(message.with_payload, default=False),
        with_vector=with_vectors_from_pb(message.with_vectors, space),
    )


def scroll_from_pb(message: pb.ScrollPoints, space: VectorSpace) -> edge.ScrollRequest:
    """Return a scroll in order of ids. Raises InvalidArgumentError or UnsupportedError."""
    require_supported(message, _SCROLL)
    return edge.ScrollRequest(
        limit=_limit(message),
        offset=point_id_from_pb(message.offset) if message.HasField("offset") else None,
        filter=filter_from_pb(message.filter) if message.HasField("filter") else None,
        with_payload=with_payload_from_pb(message.with_payload, default=True),
        with_vector=with_vectors_from_pb(message.with_vectors, space),
    )


def with_payload_from_pb(message: pb.WithPayloadSelector, *, default: bool) -> bool | edge.PayloadSelector:
    """Return which payload fields to send back; `default` is for a request that does not say."""
    match message.WhichOneof("selector_options"):
        case "enable":
            return message.enable
        case "include":
            return edge.PayloadSelector.Include(list(message.include.fields))
        case "exclude":
            return edge.PayloadSelector.Exclude(list(message.exclude.fields))
        case _:
            return default


def with_vectors_from_pb(message: pb.WithVectorsSelector, space: VectorSpace) -> bool | list[str]:
    """Return which vectors to send back; none when the request does not say. Raises InvalidArgumentError."""
    if message.WhichOneof("selector_options") != "include":
        return message.enable
    for name in message.include.names:
        space.check_name(name)
    return list(message.include.names)


def scored_point_to_pb(point: edge.ScoredPoint) -> pb.ScoredPoint:
    """Return a hit as protobuf."""
    return pb.ScoredPoint(
        id=point_id_to_pb(point.id),
        payload=payload_to_pb(point.payload or {}),
        score=point.score,
        version=point.version,
        vectors=vectors_to_pb(point.vector),
    )


def record_to_pb(record: edge.Record) -> pb.RetrievedPoint:
    """Return a stored point as protobuf."""
    return pb.RetrievedPoint(
        id=point_id_to_pb(record.id),
        payload=payload_to_pb(record.payload or {}),
        vectors=vectors_to_pb(record.vector),
    )


def _limit(message: pb.QueryPoints | pb.ScrollPoints) -> int:
    if not message.HasField("limit"):
        return _DEFAULT_LIMIT
    if message.limit == 0:
        raise InvalidArgumentError("Validation error in body: [limit: value 0 invalid, must be 1 or larger]")
    return message.limit


def _query_vector(message: pb.QueryPoints, space: VectorSpace) -> Any:
    kind = message.query.WhichOneof("variant")
    if kind is None:
        raise UnsupportedError("a query without a vector: scroll does that")
    if kind != "nearest":
        raise UnsupportedError(f"the query `{kind}`")
    return query_vector_from_pb(message.query.nearest, message.using, space)
