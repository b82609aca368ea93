"""KorQuAD v1 as a retrieval test set: paragraphs are documents, and each question has one right paragraph.

    python benchmarks/korquad.py ../shared/data/retrieval/KorQuAD_v1.0_dev.json --to /tmp/korquad
    kosearch index /tmp/korquad/documents.jsonl --collection korquad --wait
    kosearch eval retrieval --collection korquad --queries /tmp/korquad/queries.tsv --qrels /tmp/korquad/qrels.tsv

Writes documents.jsonl, queries.tsv and qrels.tsv. Equal paragraphs are one document (3 of the 964 of dev are copies).
"""

import argparse
from pathlib import Path

import orjson

from kosearch.text import normalise


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="KorQuAD_v1.0_dev.json")
    parser.add_argument("--to", type=Path, required=True, help="folder, made where it is missing")
    # With titles each document says of which article it is, which the paragraphs themselves often do not.
    parser.add_argument("--titles", action="store_true", help="give documents the titles of their articles")
    options = parser.parse_args()

    documents: dict[str, dict[str, str]] = {}
    queries, qrels = [], []
    for article in orjson.loads(options.source.read_bytes())["data"]:
        for paragraph in article["paragraphs"]:
            new = {"id": f"paragraph-{len(documents)}", "text": paragraph["context"]}
            if options.titles:
                new["title"] = article["title"].replace("_", " ")
            document = documents.setdefault(paragraph["context"], new)
            for question in paragraph["qas"]:
                queries.append(f"{question['id']}\t{normalise(question['question'])}\n")
                qrels.append(f"{question['id']}\t0\t{document['id']}\t1\n")

    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "documents.jsonl").write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in documents.values()))
    (options.to / "queries.tsv").write_text("".join(queries), encoding="utf-8")
    (options.to / "qrels.tsv").write_text("".join(qrels), encoding="utf-8")
    print(f"{len(documents):,} documents, {len(queries):,} queries in {options.to}")  # noqa: T201


if __name__ == "__main__":
    main()
