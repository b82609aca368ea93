"""What `kosearch eval quantisation` computes in numpy is what a Qdrant server does."""

import time
import uuid

import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from kosearch.evaluation.quantisation import Form, measure
from tests.real_qdrant import RealQdrant

DIM = 128
CHUNKS = 4_000
INDEXED_WITHIN_S = 60
CONFIGS: dict[str, models.QuantizationConfig] = {
    "scalar": models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
    ),
    "binary": models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True)),
}


def unit_rows(count: int, seed: int) -> NDArray[np.float32]:
    """Rows round 40 centres: neighbours of neighbours, as texts are."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(40, DIM))
    rows = centres[generator.integers(40, size=count)] + 1.2 * generator.normal(size=(count, DIM))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


EMBEDDINGS, QUERIES = unit_rows(CHUNKS, 0), unit_rows(200, 1)


@pytest.fixture(scope="module", params=CONFIGS)
def quantised(request: pytest.FixtureRequest, real_qdrant: RealQdrant) -> tuple[str, QdrantClient, str]:
    """A collection on a server that has quantised all of it; gone with the server."""
    client, name = real_qdrant.client(), f"quantised-{uuid.uuid4().hex}"
    client.create_collection(
        name,
        vectors_config=models.VectorParams(size=DIM, distance=models.Distance.COSINE),
        quantization_config=CONFIGS[request.param],
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1, default_segment_number=1),
    )
    client.upload_collection(name, vectors=EMBEDDINGS, ids=range(CHUNKS), wait=True)
    deadline = time.monotonic() + INDEXED_WITHIN_S
    while (client.get_collection(name).indexed_vectors_count or 0) < CHUNKS:
        assert time.monotonic() < deadline, "the server did not index"
        time.sleep(0.1)
    return request.param, client, name


def recall_of(client: QdrantClient, name: str, oversampling: int) -> float:
    """Recall@10 of a search through all links of the server's index, which is as good as an exact one."""
    rescoring = models.QuantizationSearchParams(
        ignore=False, rescore=oversampling > 0, oversampling=float(oversampling or 1)
    )
    how = models.SearchParams(hnsw_ef=CHUNKS, quantization=rescoring)
    exact = np.argsort(-(QUERIES @ EMBEDDINGS.T), axis=1)[:, :10]
    shares = []
    for query, best in zip(QUERIES, exact.tolist(), strict=True):
        found = client.query_points(name, query=query.tolist(), limit=10, search_params=how).points
        shares.append(len({hit.id for hit in found} & set(best)) / 10)
    return float(np.mean(shares))


def test_recall_is_that_of_a_server(quantised: tuple[str, QdrantClient, str]) -> None:
    kind, client, name = quantised
    (ours,) = measure(EMBEDDINGS, QUERIES, [Form(kind, DIM)])
    assert ours.recall.mean == pytest.approx(recall_of(client, name, 0), abs=0.02)


def test_rescored_a_server_is_as_good_or_better(quantised: tuple[str, QdrantClient, str]) -> None:
    """Better where it has spread the chunks over two segments, each of which offers as many candidates."""
    kind, client, name = quantised
    one, two = measure(EMBEDDINGS, QUERIES, [Form(kind, DIM, 4), Form(kind, DIM, 8)])
    assert one.recall.mean - 0.02 <= recall_of(client, name, 4) <= two.recall.mean + 0.02
