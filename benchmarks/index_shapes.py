"""What shape the vector index should have: links, candidates while building, a copy in eight bits.

    python benchmarks/index_shapes.py --data ../shared/data --data-dir D --collection benchmark \\
        --shapes 16x128 16x128xint8 32x256xint8

Takes embeddings of a collection that `index_corpus.py` has made in D and real queries (see `real_queries`), builds a
shard of each shape (links x candidates, with `xint8` quantised) in one thread, and searches it: the processor time that
building takes, then for each number of candidates in sight the share of the nearest ten and hundred that is found, and
the processor time of a search for a hundred. What a quantised copy finds, the best of twice as many, is put in order by
the embeddings themselves, as in the service. Prints JSON.
"""

import argparse
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge
from index_stack import running_stack
from numpy.typing import NDArray
from real_queries import real_queries
from recall import found_share
from report import print_report

from kosearch.client import Client
from kosearch.evaluation.collection_sample import CollectionSample
from kosearch.logs import configure_logs

_EFS = (128, 256, 512, 768, 1024)
_LIMITS = (10, 100)
_POINTS_AT_ONCE = 2000


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with corpora/ and retrieval/")
    parser.add_argument("--data-dir", type=Path, required=True, help="of the stack that has the collection")
    parser.add_argument("--collection", default="benchmark")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shapes", type=_shape, nargs="+", required=True, metavar="LINKSxCANDIDATES[xint8]")
    given = parser.parse_args()
    configure_logs("benchmark", "WARNING", "console")
    with running_stack(given.data_dir.resolve()) as settings, Client(settings.encoder) as client:
        queries = np.stack([each.embedding for each in real_queries(client, given.data, given.queries, given.seed)])
        with closing(CollectionSample(settings.qdrant, given.collection)) as sample:
            embeddings = sample.embeddings(given.points, given.seed)
    nearest = -np.sort(-(queries @ embeddings.T), axis=1)[:, : max(_LIMITS)]
    with tempfile.TemporaryDirectory() as folder:
        shapes = {shape.name: _measure(Path(folder), shape, embeddings, queries, nearest) for shape in given.shapes}
    print_report("index_shapes", {"points": len(embeddings), "queries": len(queries), "seed": given.seed, **shapes})


@dataclass(frozen=True, slots=True)
class Shape:
    """m: links of a point; ef_construct: candidates in sight while building."""

    m: int
    ef_construct: int
    is_quantised: bool

    @property
    def name(self) -> str:
        """As it is given."""
        return f"{self.m}x{self.ef_construct}{'xint8' * self.is_quantised}"


def _shape(given: str) -> Shape:
    m, ef_construct, *kind = given.split("x")
    if kind not in ([], ["int8"]):
        raise argparse.ArgumentTypeError(f"{given!r}: not LINKSxCANDIDATES or LINKSxCANDIDATESxint8")
    return Shape(int(m), int(ef_construct), bool(kind))


def _measure(
    folder: Path,
    shape: Shape,
    embeddings: NDArray[np.float32],
    queries: NDArray[np.float32],
    nearest: NDArray[np.float32],
) -> dict[str, Any]:
    path = folder / shape.name
    path.mkdir()
    shard = edge.EdgeShard.create(str(path), _config(shape, embeddings.shape[1]))
    for start in range(0, len(embeddings), _POINTS_AT_ONCE):
        page = embeddings[start : start + _POINTS_AT_ONCE].tolist()
        shard.update(edge.UpdateOperation.upsert_points([edge.Point(start + n, row) for n, row in enumerate(page)]))
    began_s = time.process_time()
    shard.optimize()
    figures: dict[str, Any] = {"build_cpu_s": round(time.process_time() - began_s, 1)}
    for ef in _EFS:
        figures[f"ef_{ef}"] = {}
        for limit in _LIMITS:
            _search(shard, queries[:50], ef, limit)
            began_s = time.process_time()
            found = _search(shard, queries, ef, limit)
            figures[f"ef_{ef}"] |= {
                f"recall_at_{limit}": found_share(found, nearest[:, :limit]),
                f"cpu_ms_of_{limit}": round((time.process_time() - began_s) / len(queries) * 1e3, 2),
            }
    shard.close()
    figures["mib"] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) >> 20
    return figures


def _config(shape: Shape, dim: int) -> edge.EdgeConfig:
    int8 = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=0.99, memory=edge.Memory.Pinned)
    vectors = edge.EdgeVectorParams(
        size=dim,
        distance=edge.Distance.Cosine,
        memory=edge.Memory.Cold,
        quantization_config=int8 if shape.is_quantised else None,
    )
    return edge.EdgeConfig(
        vectors={"": vectors},
        hnsw_config=edge.HnswIndexConfig(
            m=shape.m,
            ef_construct=shape.ef_construct,
            full_scan_threshold=10_000,
            max_indexing_threads=1,
            memory=edge.Memory.Cached,
        ),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=1, max_segment_size=1 << 40),
    )


def _search(shard: edge.EdgeShard, queries: NDArray[np.float32], ef: int, limit: int) -> list[NDArray[np.float32]]:
    """Return for each query the falling scores of what is found."""
    rescored = edge.QuantizationSearchParams(rescore=True, oversampling=2.0)
    params = edge.SearchParams(hnsw_ef=ef, quantization=rescored)
    return [
        np.array(
            [
                hit.score
                for hit in shard.query(edge.QueryRequest(limit=limit, query=edge.Query.Nearest(query), params=params))
            ]
        )
        for query in queries.tolist()
    ]


if __name__ == "__main__":
    main()
