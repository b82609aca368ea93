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

from judged_set import JudgedSet

from trainer.data.datasets import is_welfare_dev


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with retrieval/welfare_qa.csv")
    parser.add_argument("--to", type=Path, required=True, help="folder, made where it is missing")
    options = parser.parse_args()

    judged = JudgedSet("answer")
    with (options.data / "retrieval" / "welfare_qa.csv").open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            document_id = judged.add_document(row["Answer"])
            if is_welfare_dev(row["Documents"]):
                judged.add_query(number, row["Question"], document_id)
    judged.write(options.to)


if __name__ == "__main__":
    main()
