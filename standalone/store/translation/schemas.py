"""Collections and payload indexes: what was asked at creation, and what `get_collection` tells of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import qdrant_edge as edge
from qdrant_client import grpc as pb

from standalone.store.errors import InvalidArgumentError, UnsupportedError
from standalone.store.index_policy import DEFAULT_THRESHOLD_KIB
from standalone.store.translation.support import ALWAYS_TRUE, require_supported
from standalone.store.translation.vector_index import (
    check_index_params,
    hnsw_config,
    hnsw_to_pb,
    quantisation_config,
)
from standalone.store.translation.vectors import VectorSpace

MAX_DIM = 65_536
MAX_NAME_CHARS = 255
# Edge makes directories of vectors' names, with up to 14 bytes before them.
MAX_VECTOR_NAME_BYTES = 200
_NO_LIMIT_KIB = 1 << 40

_CREATE = ALWAYS_TRUE | {
    "collection_name",
    "vectors_config",
    "sparse_vectors_config",
    "metadata",
    "hnsw_config",
    "quantization_config",
    "shard_number",
    "replication_factor",
    "write_consistency_factor",
    "sharding_method",
}
_COUNTS_OF_ONE = ("shard_number", "replication_factor", "write_consistency_factor")
_VECTOR_PARAMS = frozenset({"size", "distance", "on_disk"})
_SPARSE_VECTOR_PARAMS = frozenset({"index", "modifier"})
_SPARSE_INDEX = frozenset({"full_scan_threshold", "on_disk"})
_CREATE_INDEX = ALWAYS_TRUE | {"collection_name", "wait", "field_name", "field_type", "field_index_params"}
_FORBIDDEN_IN_NAME = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_DISTANCES = {
    pb.Distance.Cosine: edge.Distance.Cosine,
    pb.Distance.Euclid: edge.Distance.Euclid,
    pb.Distance.Dot: edge.Distance.Dot,
    pb.Distance.Manhattan: edge.Distance.Manhattan,
}
_MODIFIERS = {pb.Modifier.Value("None"): None, pb.Modifier.Idf: edge.Modifier.Idf}
_TOKENIZERS = {
    pb.TokenizerType.Prefix: edge.TokenizerType.Prefix,
    pb.TokenizerType.Whitespace: edge.TokenizerType.Whitespace,
    pb.TokenizerType.Word: edge.TokenizerType.Word,
    pb.TokenizerType.Multilingual: edge.TokenizerType.Multilingual,
}
# Kinds of payload index: name in the oneof of PayloadIndexParams, Edge's class, fields that Edge honours.
_INDEX_KINDS: dict[str, tuple[str, type[Any], frozenset[str]]] = {
    "Keyword": (
        "keyword_index_params",
        edge.KeywordIndexParams,
        frozenset({"is_tenant", "on_disk", "enable_hnsw"}),
    ),
    "Integer": (
        "integer_index_params",
        edge.IntegerIndexParams,
        frozenset({"lookup", "range", "is_principal", "on_disk", "enable_hnsw"}),
    ),
    "Float": ("float_index_params", edge.FloatIndexParams, frozenset({"on_disk", "is_principal", "enable_hnsw"})),
    "Bool": ("bool_index_params", edge.BoolIndexParams, frozenset({"on_disk", "enable_hnsw"})),
    "Datetime": (
        "datetime_index_params",
        edge.DatetimeIndexParams,
        frozenset({"on_disk", "is_principal", "enable_hnsw"}),
    ),
    "Uuid": ("uuid_index_params", edge.UuidIndexParams, frozenset({"is_tenant", "on_disk", "enable_hnsw"})),
    "Text": (
        "text_index_params",
        edge.TextIndexParams,
        frozenset(
            {
                "tokenizer",
                "lowercase",
                "min_token_len",
                "max_token_len",
                "on_disk",
                "phrase_matching",
                "ascii_folding",
                "enable_hnsw",
            }
        ),
    ),
}


def check_name(name: str) -> None:
    """Raise InvalidArgumentError on a name that Qdrant refuses, or that destroys its storage ("." and "..")."""
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise InvalidArgumentError(
            f"Validation error in body: [collection_name: {len(name)} characters, must be from 1 to {MAX_NAME_CHARS}]"
        )
    forbidden = _FORBIDDEN_IN_NAME.search(name)
    if forbidden or name in (".", ".."):
        wrong = forbidden.group() if forbidden else name
        raise InvalidArgumentError(
            f"Validation error in body: [collection_name: collection name cannot be or contain {wrong!r}]"
        )


def check_create(message: pb.CreateCollection) -> None:
    """Raise InvalidArgumentError or UnsupportedError on a collection that cannot be made."""
    check_name(message.collection_name)
    require_supported(message, _CREATE)
    for name in _COUNTS_OF_ONE:
        if getattr(message, name) > 1:
            raise UnsupportedError(f"`{name}` = {getattr(message, name)}: it is one process")
    if message.sharding_method != pb.ShardingMethod.Auto:
        raise UnsupportedError("custom sharding")
    if not _vector_params(message):
        raise UnsupportedError("a collection without dense vectors")
    for name, dense in _vector_params(message).items():
        _check_dense(name, dense)
    check_index_params(message)
    for name, sparse in _sparse_params(message).items():
        _check_sparse(name, sparse)
        if name in _vector_params(message):
            raise InvalidArgumentError(
                f"Wrong input: Dense and sparse vector names must be unique - duplicate found with '{name}'"
            )


def edge_config(message: pb.CreateCollection) -> edge.EdgeConfig:
    """Return the shard's configuration for a checked message."""
    return edge.EdgeConfig(
        vectors={
            name: edge.EdgeVectorParams(size=params.size, distance=_DISTANCES[params.distance])
            for name, params in _vector_params(message).items()
        },
        sparse_vectors=_sparse_config(message),
    )


def indexed_edge_config(message: pb.CreateCollection) -> edge.EdgeConfig:
    """Return the configuration of a shard that is to be built with a vector index.

    Vectors stay on disk, mapped: the system keeps what is used and takes the memory back when others need it. For links
    and quantised copies see `vector_index`. One segment, whatever the size: a query then searches one graph.
    The inverted index of sparse vectors is mapped, too: 200,000 points of 60 terms (Zipf) answer queries of 8 terms in
    1.0 ms of CPU wherever it is (p50 1.0 to 1.2 ms), and a shard opens with it in 0.04 s of CPU where reading it into
    memory takes 0.18 s. Points that are not in the built shard have theirs in memory: 300 MB for so many.
    """
    return edge.EdgeConfig(
        vectors={
            name: edge.EdgeVectorParams(
                size=params.size,
                distance=_DISTANCES[params.distance],
                quantization_config=quantisation_config(message),
                memory=edge.Memory.Cold,
            )
            for name, params in _vector_params(message).items()
        },
        sparse_vectors=_sparse_config(message, edge.Memory.Cold),
        hnsw_config=hnsw_config(message),
        optimizers=edge.EdgeOptimizersConfig(
            indexing_threshold=1, default_segment_number=1, max_segment_size=_NO_LIMIT_KIB
        ),
    )


def vector_space(message: pb.CreateCollection) -> VectorSpace:
    """Return the vectors' names and dimensions."""
    dims = {name: params.size for name, params in _vector_params(message).items()}
    return VectorSpace(dims, frozenset(_sparse_params(message)))


def merge_metadata(message: pb.CreateCollection, changes: Mapping[str, pb.Value]) -> pb.CreateCollection:
    """Return a copy with the metadata changed key by key; null removes a key."""
    merged = pb.CreateCollection()
    merged.CopyFrom(message)
    for key, value in changes.items():
        if value.WhichOneof("kind") == "null_value":
            merged.metadata.pop(key, None)
        else:
            merged.metadata[key].CopyFrom(value)
    return merged


def merge_optimizers(message: pb.CreateCollection, changes: pb.OptimizersConfigDiff) -> pb.CreateCollection:
    """Return a copy with the indexing threshold, where one is given. Raises UnsupportedError on other fields."""
    require_supported(changes, frozenset({"indexing_threshold"}))
    merged = pb.CreateCollection()
    merged.CopyFrom(message)
    if changes.HasField("indexing_threshold"):
        merged.optimizers_config.indexing_threshold = changes.indexing_threshold
    return merged


def indexing_threshold_kib(message: pb.CreateCollection) -> int:
    """Return from how many KiB of unindexed vectors an index is built; 0: never."""
    if message.optimizers_config.HasField("indexing_threshold"):
        return message.optimizers_config.indexing_threshold
    return DEFAULT_THRESHOLD_KIB


def index_to_pb(field: str, index: "edge.PayloadIndexInfo") -> pb.CreateFieldIndexCollection:
    """Return the request that makes a payload index like this one."""
    told = _index_info_to_pb(index)
    message = pb.CreateFieldIndexCollection(
        field_name=field,
        field_type=pb.FieldType.Value(f"FieldType{pb.PayloadSchemaType.Name(told.data_type)}"),
    )
    if told.HasField("params"):
        message.field_index_params.CopyFrom(told.params)
    return message


def index_from_pb(message: pb.CreateFieldIndexCollection) -> Any:
    """Return Edge's schema of a payload index, a type or parameters. Raises InvalidArgumentError, UnsupportedError."""
    require_supported(message, _CREATE_INDEX)
    oneof = message.field_index_params.WhichOneof("index_params")
    if oneof:
        return _index_params(oneof, getattr(message.field_index_params, oneof))
    if not message.HasField("field_type"):
        raise InvalidArgumentError("Wrong input: one of field_type and field_index_params must be given")
    kind = pb.FieldType.Name(message.field_type).removeprefix("FieldType")
    if kind not in _INDEX_KINDS:
        raise UnsupportedError(f"a payload index of type {kind}")
    return getattr(edge.PayloadSchemaType, kind)


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How far the vector index is. `problem`: why it cannot be built; empty otherwise."""

    unindexed_points: int
    is_wanted: bool
    problem: str = ""


def collection_info_to_pb(
    message: pb.CreateCollection, info: "edge.ShardInfo", index: IndexStatus
) -> pb.CollectionInfo:
    """Return what `get_collection` tells. `status`: yellow while an index is wanted or built, red when that failed."""
    # Edge goes on counting points that were overwritten or deleted since the index was built. As on a server, a sparse
    # vector is indexed from the moment it is written, and counted when it has a term.
    indexed_points = info.points_count - index.unindexed_points
    at_most = indexed_points * len(_vector_params(message)) + info.points_count * len(_sparse_params(message))
    return pb.CollectionInfo(
        status=_status(index),
        optimizer_status=pb.OptimizerStatus(ok=not index.problem, error=index.problem),
        segments_count=info.segments_count,
        points_count=info.points_count,
        indexed_vectors_count=min(info.indexed_vectors_count, at_most),
        payload_schema={field: _index_info_to_pb(index) for field, index in info.payload_schema.items()},
        config=pb.CollectionConfig(
            params=pb.CollectionParams(
                shard_number=1,
                replication_factor=1,
                write_consistency_factor=1,
                on_disk_payload=True,
                vectors_config=message.vectors_config,
                sparse_vectors_config=message.sparse_vectors_config if _sparse_params(message) else None,
            ),
            hnsw_config=hnsw_to_pb(message),
            optimizer_config=pb.OptimizersConfigDiff(
                deleted_threshold=0.2,
                vacuum_min_vector_number=1000,
                default_segment_number=0,
                indexing_threshold=indexing_threshold_kib(message),
                flush_interval_sec=1,
            ),
            wal_config=pb.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0, wal_retain_closed=1),
            quantization_config=message.quantization_config if message.HasField("quantization_config") else None,
            metadata=message.metadata,
        ),
    )


def _status(index: IndexStatus) -> "pb.CollectionStatus.ValueType":
    if index.problem:
        return pb.CollectionStatus.Red
    return pb.CollectionStatus.Yellow if index.is_wanted else pb.CollectionStatus.Green


def _vector_params(message: pb.CreateCollection) -> dict[str, pb.VectorParams]:
    if message.vectors_config.WhichOneof("config") == "params":
        return {"": message.vectors_config.params}
    return dict(message.vectors_config.params_map.map)


def _sparse_params(message: pb.CreateCollection) -> dict[str, pb.SparseVectorParams]:
    return dict(message.sparse_vectors_config.map)


def _check_dense(name: str, params: pb.VectorParams) -> None:
    _check_vector_name(name)
    require_supported(params, _VECTOR_PARAMS)
    if not 1 <= params.size <= MAX_DIM:
        raise InvalidArgumentError(
            f"Validation error in body: [vectors_config.config.size: value {params.size} of vector `{name}` "
            f"invalid, must be from 1 to {MAX_DIM}]"
        )
    if params.distance not in _DISTANCES:
        raise InvalidArgumentError(f"Wrong input: unknown distance {params.distance} of vector `{name}`")


def _check_sparse(name: str, params: pb.SparseVectorParams) -> None:
    _check_vector_name(name)
    require_supported(params, _SPARSE_VECTOR_PARAMS)
    require_supported(params.index, _SPARSE_INDEX)
    if params.modifier not in _MODIFIERS:
        raise InvalidArgumentError(f"Wrong input: unknown modifier {params.modifier} of vector `{name}`")


def _check_vector_name(name: str) -> None:
    """Raise InvalidArgumentError on a name that is no part of a path; the server makes directories of some of them."""
    if _FORBIDDEN_IN_NAME.search(name) or len(name.encode()) > MAX_VECTOR_NAME_BYTES:
        raise InvalidArgumentError(
            f"Wrong input: a vector's name must not hold any of <>:\"/\\|?* and take at most {MAX_VECTOR_NAME_BYTES} "
            f"bytes: {name[:MAX_VECTOR_NAME_BYTES]!r}"
        )


def _sparse_config(
    message: pb.CreateCollection, memory: edge.Memory | None = None
) -> dict[str, edge.EdgeSparseVectorParams] | None:
    """Return the sparse vectors' parameters. `memory`: of their index, which is in memory anyway until it is built."""
    made = {}
    for name, params in _sparse_params(message).items():
        has_threshold = params.index.HasField("full_scan_threshold")
        made[name] = edge.EdgeSparseVectorParams(
            full_scan_threshold=params.index.full_scan_threshold if has_threshold else None,
            modifier=_MODIFIERS[params.modifier],
            memory=memory,
        )
    return made or None


def _index_params(oneof: str, message: Any) -> Any:
    for known, edge_class, supported in _INDEX_KINDS.values():
        if known == oneof:
            require_supported(message, supported)
            given = {descriptor.name: value for descriptor, value in message.ListFields()}
            if "tokenizer" in given:
                given["tokenizer"] = _tokenizer(given["tokenizer"])
            return edge_class(**given)
    raise UnsupportedError(f"the payload index `{oneof}`")


def _tokenizer(tokenizer: "pb.TokenizerType.ValueType") -> edge.TokenizerType:
    if tokenizer not in _TOKENIZERS:
        raise UnsupportedError(f"the tokenizer {pb.TokenizerType.Name(tokenizer)}")
    return _TOKENIZERS[tokenizer]


def _index_info_to_pb(index: "edge.PayloadIndexInfo") -> pb.PayloadSchemaInfo:
    for kind, (oneof, _, fields) in _INDEX_KINDS.items():
        if index.data_type == getattr(edge.PayloadSchemaType, kind):
            info = pb.PayloadSchemaInfo(data_type=getattr(pb.PayloadSchemaType, kind), points=index.points)
            if index.params is not None:
                getattr(info.params, oneof).SetInParent()
                _copy_index_params(index.params, getattr(info.params, oneof), fields)
            return info
    return pb.PayloadSchemaInfo(points=index.points)


def _copy_index_params(params: Any, message: Any, fields: frozenset[str]) -> None:
    for name in fields:
        value = getattr(params, name)
        if name == "tokenizer":
            value = next(ours for ours, theirs in _TOKENIZERS.items() if theirs == value)
        if value is not None:
            setattr(message, name, value)
