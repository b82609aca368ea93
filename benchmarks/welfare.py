"""The welfare guide as a retrieval test set: its answers are documents, and each question has one right answer.

    python benchmarks/welfare.py ../shared/data --to /tmp/welfare
    kosearch index /tmp/welfare/documents.jsonl --collection welfare --wait
    kosearch eval retrieval --collection welfare --queries /tmp/welfare/queries.tsv --qrels /tmp/welfare/qrels.tsv

Queries are of the tenth of the guide's documents that no training has seen; all answers are searched. Writes
documents.jsonl, queries.tsv and qrels.tsv. Equal answers are one document.
"""

import argparse
import csv
from pathlib import Path

import orjson

from kosearch.text import normalise
from trainer.data.datasets import is_welfare_dev


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with retrieval/welfare_qa.csv")
    parser.add_argument("--to", type=Path, required=True, help="folder, made where it is missing")
    options = parser.parse_args()

    documents: dict[str, dict[str, str]] = {}
    queries, qrels = [], []
    with (options.data / "retrieval" / "welfare_qa.csv").open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            new = {"id": f"answer-{len(documents)}", "text": row["Answer"]}
            document = documents.setdefault(row["Answer"], new)
            if is_welfare_dev(row["Documents"]):
                queries.append(f"{number}\t{normalise(row['Question'])}\n")
                qrels.append(f"{number}\t0\t{document['id']}\t1\n")

    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "documents.jsonl").write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in documents.values()))
    (options.to / "queries.tsv").write_text("".join(queries), encoding="utf-8")
    (options.to / "qrels.tsv").write_text("".join(qrels), encoding="utf-8")
    print(f"{len(documents):,} documents, {len(queries):,} queries in {options.to}")  # noqa: T201


if __name__ == "__main__":
    main()
