"""How a collection's vector index is built and searched: links, and the quantised copy of the vectors."""

import qdrant_edge as edge
from qdrant_client import grpc as pb

from standalone.store.errors import InvalidArgumentError, UnsupportedError
from standalone.store.translation.support import require_supported

# For collections that do not say: Qdrant's 16 links, and 128 candidates instead of its 100.
DEFAULT_M = 16
DEFAULT_EF_CONSTRUCT = 128
_FULL_SCAN_KIB = 10_000
_LEAST_EF_CONSTRUCT = 4

_HNSW = frozenset({"m", "ef_construct"})
_SCALAR = frozenset({"type", "quantile", "always_ram"})
_SEARCH_PARAMS = frozenset({"hnsw_ef", "exact", "quantization"})
_QUANTISED_SEARCH = frozenset({"ignore", "rescore", "oversampling"})


def check_index_params(message: pb.CreateCollection) -> None:
    """Raise InvalidArgumentError or UnsupportedError on an index that cannot be built."""
    hnsw = message.hnsw_config
    require_supported(hnsw, _HNSW)
    if hnsw.HasField("m") and not hnsw.m:
        raise UnsupportedError("`m` = 0 in HnswConfigDiff, a collection without vector index: leave building deferred")
    if hnsw.HasField("ef_construct") and hnsw.ef_construct < _LEAST_EF_CONSTRUCT:
        raise InvalidArgumentError(
            f"Validation error in body: [hnsw_config.ef_construct: value {hnsw.ef_construct} invalid, must be "
            f"{_LEAST_EF_CONSTRUCT} or larger]"
        )
    if not message.HasField("quantization_config"):
        return
    kind = message.quantization_config.WhichOneof("quantization")
    if kind != "scalar":
        raise UnsupportedError(f"the quantization `{kind}`")
    scalar = message.quantization_config.scalar
    require_supported(scalar, _SCALAR)
    if scalar.type != pb.QuantizationType.Int8:
        raise InvalidArgumentError(f"Wrong input: unknown type {scalar.type} of scalar quantization")
    if scalar.HasField("quantile") and not 0.5 <= scalar.quantile <= 1:
        raise InvalidArgumentError(
            f"Validation error in body: [quantization_config.scalar.quantile: value {scalar.quantile} invalid, must be "
            "from 0.5 to 1.0]"
        )


def hnsw_config(message: pb.CreateCollection) -> edge.HnswIndexConfig:
    """Return how the links are made. They are read ahead when a shard opens: a fortieth of the vectors' size."""
    told = hnsw_to_pb(message)
    return edge.HnswIndexConfig(
        m=told.m,
        ef_construct=told.ef_construct,
        full_scan_threshold=told.full_scan_threshold,
        memory=edge.Memory.Cached,
    )


def hnsw_to_pb(message: pb.CreateCollection) -> pb.HnswConfigDiff:
    """Return what `get_collection` tells of the links."""
    given = message.hnsw_config
    return pb.HnswConfigDiff(
        m=given.m if given.HasField("m") else DEFAULT_M,
        ef_construct=given.ef_construct if given.HasField("ef_construct") else DEFAULT_EF_CONSTRUCT,
        full_scan_threshold=_FULL_SCAN_KIB,
        max_indexing_threads=0,
        on_disk=False,
    )


def quantisation_config(message: pb.CreateCollection) -> edge.ScalarQuantizationConfig | None:
    """Return how the vectors of an index are quantised, where they are to be.

    The copy is in memory, or with `always_ram` off mapped and read ahead, so that the system may take its memory back.
    """
    if not message.HasField("quantization_config"):
        return None
    scalar = message.quantization_config.scalar
    return edge.ScalarQuantizationConfig(
        edge.ScalarType.Int8,
        quantile=scalar.quantile if scalar.HasField("quantile") else None,
        memory=edge.Memory.Pinned if scalar.always_ram else edge.Memory.Cached,
    )


def search_params_from_pb(message: pb.SearchParams) -> edge.SearchParams:
    """Return how an index is searched. Raises UnsupportedError."""
    require_supported(message, _SEARCH_PARAMS)
    return edge.SearchParams(
        hnsw_ef=message.hnsw_ef if message.HasField("hnsw_ef") else None,
        exact=message.exact,
        quantization=_quantised_search(message.quantization) if message.HasField("quantization") else None,
    )


def _quantised_search(message: pb.QuantizationSearchParams) -> edge.QuantizationSearchParams:
    """Return how a quantised copy is used. What is not said is as on a server, which does not rescore eight bits."""
    require_supported(message, _QUANTISED_SEARCH)
    return edge.QuantizationSearchParams(
        ignore=message.ignore,
        rescore=message.rescore if message.HasField("rescore") else None,
        oversampling=message.oversampling if message.HasField("oversampling") else None,
    )
