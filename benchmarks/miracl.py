"""MIRACL-ko or Mr.TyDi-ko as a retrieval test set over Wikipedia pages.

    python benchmarks/miracl.py ../shared/data/retrieval --set miracl-dev --to /tmp/miracl \
        --pages ../shared/data/corpora/kowiki.jsonl.zst.part-* --distractors 20000
    kosearch index /tmp/miracl/documents.jsonl --collection miracl --wait
    kosearch eval retrieval --collection miracl --queries /tmp/miracl/queries.tsv --qrels /tmp/miracl/qrels.tsv \
        --passage-separator '#'

Writes queries.tsv and qrels.tsv as they are published: ids of qrels are passages, `page#passage`, and the documents are
pages. With `--pages` (Zstandard JSONL of id, title and text, in one or several parts) it writes documents.jsonl: every
relevant page and about `--distractors` others. Only among all of them, the default, figures are those of others.
"""

import argparse
import gzip
import zlib
from pathlib import Path

import orjson

from trainer.data.corpora import read_zstd_jsonl

# name -> topics, qrels
_SETS = {
    "miracl-dev": ("topics.miracl-v1.0-ko-dev.tsv", "qrels.miracl-v1.0-ko-dev.tsv"),
    "miracl-train": ("topics.miracl-v1.0-ko-train.tsv", "qrels.miracl-v1.0-ko-train.tsv"),
    "mrtydi-dev": ("topics.mrtydi-v1.1-ko.dev.txt.gz", "qrels.mrtydi-v1.1-ko.dev.txt"),
    "mrtydi-train": ("topics.mrtydi-v1.1-ko.train.txt.gz", "qrels.mrtydi-v1.1-ko.train.txt"),
}
_HASHES = 1 << 32


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with the published topics and qrels")
    parser.add_argument("--set", choices=_SETS, default="miracl-dev", dest="name")
    parser.add_argument("--to", type=Path, required=True, help="folder, made where it is missing")
    parser.add_argument("--pages", type=Path, nargs="+", help="Wikipedia, Zstandard JSONL")
    parser.add_argument("--distractors", type=int, help="pages beside the relevant ones, about (default: all)")
    options = parser.parse_args()

    topics, qrels = (_read(options.folder / name) for name in _SETS[options.name])
    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "queries.tsv").write_bytes(topics)
    (options.to / "qrels.tsv").write_bytes(qrels)
    print(f"{len(topics.splitlines()):,} queries in {options.to}")  # noqa: T201
    if options.pages:
        columns = (line.split() for line in qrels.decode().splitlines() if line.strip())
        relevant = {document.partition("#")[0] for _, _, document, relevance in columns if relevance != "0"}
        written = _write_documents(options.pages, relevant, options.distractors, options.to / "documents.jsonl")
        print(f"{written:,} documents, of {len(relevant):,} relevant pages")  # noqa: T201


def _write_documents(pages: list[Path], relevant: set[str], distractors: int | None, to: Path) -> int:
    total = sum(1 for _ in read_zstd_jsonl(pages)) if distractors is not None else 0
    share = 1.0 if distractors is None else distractors / max(total, 1)
    written = 0
    with to.open("wb") as out:
        for page in read_zstd_jsonl(pages):
            # By a hash: the same pages each time, from all over the corpus.
            if page["id"] in relevant or zlib.crc32(page["id"].encode()) < share * _HASHES:
                out.write(orjson.dumps(page) + b"\n")
                written += 1
    return written


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


if __name__ == "__main__":
    main()
