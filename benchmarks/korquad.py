"""KorQuAD v1 as a retrieval test set: paragraphs are documents, and each question has one right paragraph.

    python benchmarks/korquad.py ../shared/data/retrieval/KorQuAD_v1.0_dev.json --to /tmp/korquad
    kosearch index /tmp/korquad/documents.jsonl --collection korquad --wait
    kosearch eval retrieval --collection korquad --queries /tmp/korquad/queries.tsv --qrels /tmp/korquad/qrels.tsv

Writes documents.jsonl, queries.tsv and qrels.tsv. Equal paragraphs are one document (3 of the 964 of dev are copies).
"""

import argparse
from pathlib import Path

import orjson
from judged_set import JudgedSet


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="KorQuAD_v1.0_dev.json")
    parser.add_argument("--to", type=Path, required=True, help="folder, made where it is missing")
    # With titles each document says of which article it is, which the paragraphs themselves often do not.
    parser.add_argument("--titles", action="store_true", help="give documents the titles of their articles")
    options = parser.parse_args()

    judged = JudgedSet("paragraph")
    for article in orjson.loads(options.source.read_bytes())["data"]:
        title = {"title": article["title"].replace("_", " ")} if options.titles else {}
        for paragraph in article["paragraphs"]:
            document_id = judged.add_document(paragraph["context"], **title)
            for question in paragraph["qas"]:
                judged.add_query(question["id"], question["question"], document_id)
    judged.write(options.to)


if __name__ == "__main__":
    main()
