"""How fast documents are cut into chunks, where the cuts fall, and whether Kiwi agrees with them. Prints JSON.

Times are those of the processor, so that others at work on the machine do not count.

    python benchmarks/chunking.py ../shared/data/corpora/law_articles.jsonl.zst [--documents 5000] [--overlap 32]
    python benchmarks/chunking.py ../shared/data/corpora/precedents.jsonl.zst --text issue holding
    python benchmarks/chunking.py ../shared/data/corpora/kowiki.jsonl.zst.part-0*

Several paths are the parts of one file. `--at-once` joins all documents to one, as a large file is.
"""

import argparse
import io
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from unittest import mock

import orjson
import zstandard
from report import print_report  # the benchmarks are scripts, not a package

from indexer_worker.chunking import Chunker, joints, sentences
from indexer_worker.chunking.chunker import DEFAULT_OVERLAP_TOKENS, Piece
from indexer_worker.chunking.joints import Joint
from kosearch.documents import Document
from kosearch.model_directory import ModelDirectory
from kosearch.settings import Settings
from kosearch.text import clean

# Of the cuts at ends by their form, so many are shown to Kiwi: 5 ms each.
_COMPARED = 1000


def main() -> None:
    """Read, cut, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", type=Path, nargs="+")
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--text", nargs="+", default=["text"], help="fields that make up the text")
    parser.add_argument("--overlap", type=int, default=DEFAULT_OVERLAP_TOKENS)
    parser.add_argument("--model", type=Path, default=Settings.model_fields["encoder"].default.model)
    parser.add_argument("--at-once", action="store_true")
    arguments = parser.parse_args()
    documents = list(islice(_documents(arguments.parts, arguments.text), arguments.documents))
    if arguments.at_once:
        documents = [Document("all", "\n".join(document.text for document in documents))]
    model = ModelDirectory.open(arguments.model)
    chunker = Chunker(model.path, model.max_tokens, arguments.overlap)
    # Its dictionaries are loaded once in the life of a worker.
    sentences.last_end_by_kiwi("재밌었어요 다음에 또 볼 거예요", 1, 16)
    pieces, seconds, kiwi_calls, kiwi_s = _cut(chunker, documents)
    print_report(
        "chunking",
        {
            "source": arguments.parts[0].name,
            "model": model.name,
            "max_tokens": model.max_tokens,
            "overlap_tokens": arguments.overlap,
            **_speed(documents, pieces, seconds),
            "kiwi": {
                "calls": kiwi_calls,
                "ms_per_call": round(1e3 * kiwi_s / max(1, kiwi_calls), 2),
                "share_of_time": round(kiwi_s / seconds, 3),
                **_agreement(documents, pieces),
            },
        },
    )


def _documents(parts: Sequence[Path], fields: Sequence[str]) -> Iterator[Document]:
    content = io.BytesIO(b"".join(part.read_bytes() for part in parts))
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    with io.BufferedReader(decompressor.stream_reader(content), 1 << 20) as lines:
        for line in lines:
            record = orjson.loads(line)
            text = clean("\n".join(record[field] for field in fields if record[field]))
            if text:
                yield Document(record["id"], text, clean(record["title"] or ""))


def _cut(chunker: Chunker, documents: Sequence[Document]) -> tuple[list[list[Piece]], float, int, float]:
    """Return the pieces of each document, the seconds it took, calls of Kiwi and their seconds."""
    calls: list[float] = []
    ask = sentences.last_end_by_kiwi

    def timed(text: str, low: int, limit: int) -> int | None:
        started = time.process_time()
        try:
            return ask(text, low, limit)
        finally:
            calls.append(time.process_time() - started)

    with mock.patch.object(joints, "last_end_by_kiwi", timed):
        started = time.process_time()
        pieces = [list(chunker.pieces(document)) for document in documents]
        seconds = time.process_time() - started
    return pieces, seconds, len(calls), sum(calls)


def _speed(documents: Sequence[Document], pieces: Sequence[Sequence[Piece]], seconds: float) -> dict[str, object]:
    characters = sum(len(document.text) for document in documents)
    chunks = sum(map(len, pieces))
    cuts = Counter(piece.joint for found in pieces for piece in found if piece.joint != Joint.END_OF_TEXT)
    return {
        "documents": len(documents),
        "documents_cut": sum(len(found) > 1 for found in pieces),
        "characters": characters,
        "cpu_seconds": round(seconds, 2),
        "documents_per_s": round(len(documents) / seconds),
        "characters_per_s": round(characters / seconds),
        "chunks": chunks,
        "ms_per_chunk": round(1e3 * seconds / chunks, 3),
        "tokens": sum(piece.tokens for found in pieces for piece in found),
        "cuts": sum(cuts.values()),
        "share_of_cuts": {joint.value: round(cuts[joint] / cuts.total(), 4) for joint in Joint if cuts[joint]},
    }


def _agreement(documents: Sequence[Document], pieces: Sequence[Sequence[Piece]]) -> dict[str, object]:
    """Return how many of the cuts at ends by their form are ends for Kiwi, too."""
    places = [
        (document.text, piece.end)
        for document, found in zip(documents, pieces, strict=True)
        for piece in found
        if piece.joint == Joint.SENTENCE
    ]
    shown = places[:: max(1, len(places) // _COMPARED)][:_COMPARED]
    # The last end that Kiwi finds up to that place is that place.
    agreed = sum(text[end : sentences.last_end_by_kiwi(text, end - 60, end) or end].isspace() for text, end in shown)
    return {"sure_ends_shown": len(shown), "sure_ends_agreed": round(agreed / len(shown), 4) if shown else None}


if __name__ == "__main__":
    main()
