"""How long a search takes, end to end through gRPC, one query after the other.

    python benchmarks/search_latency.py --collection laws --source ../shared/data/corpora/law_articles.jsonl.zst

Needs a running stack (`kosearch up`) with the collection. The queries are all different: the opening words, the title
with the law's name, or a piece out of the middle of articles drawn with a fixed seed. Prints JSON.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np
import orjson
from report import print_report

from indexer_worker.readers.byte_streams import open_bytes
from kosearch.client import Client
from kosearch.settings import load_settings
from kosearch.text import normalise

_WARM_UP = 20


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collection", required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    queries = _queries(arguments.source, arguments.queries + _WARM_UP, arguments.seed)
    with Client(load_settings(arguments.data_dir).encoder) as client:
        took_ms = [_timed_ms(client, query, arguments.collection, arguments.top_k) for query in queries][_WARM_UP:]
    print_report(
        "search_latency",
        {
            "collection": arguments.collection,
            "queries": len(took_ms),
            "seed": arguments.seed,
            "top_k": arguments.top_k,
            "query_characters_mean": round(float(np.mean([len(query) for query in queries])), 1),
            **{f"p{percent}_ms": round(float(np.percentile(took_ms, percent)), 2) for percent in (50, 90, 99)},
            "max_ms": round(max(took_ms), 2),
        },
    )


def _timed_ms(client: Client, query: str, collection: str, top_k: int) -> float:
    began = time.perf_counter()
    client.search(query, collection, top_k)
    return (time.perf_counter() - began) * 1e3


def _queries(source: Path, count: int, seed: int) -> list[str]:
    with open_bytes(source) as stream:
        articles = [orjson.loads(line) for line in stream]
    chosen = random.Random(seed)
    queries: dict[str, None] = {}
    while len(queries) < count:
        article = chosen.choice(articles)
        text = normalise(article["text"])
        begin = chosen.randrange(max(1, len(text) // 2))
        queries[
            chosen.choice(
                [
                    text[: chosen.randrange(15, 60)],
                    f"{article.get('law', '')} {article['title']}".strip(),
                    text[begin : begin + chosen.randrange(15, 80)],
                ]
            ).strip()
            or article["id"]
        ] = None
    return list(queries)


if __name__ == "__main__":
    main()
