"""How fast a corpus is indexed by a stack of its own, whether the store holds exactly what it should, and what it costs
to index it again: unchanged, touched, and with a share of documents changed and another removed.

    python benchmarks/index_corpus.py ../shared/data/corpora/law_articles.jsonl.zst \\
        ../shared/data/corpora/precedents.jsonl.zst --text-field text,issue,holding [--every 10] [--again]

The expected numbers of documents and chunks are counted from the files by themselves, without planner, ledger or store.
`--data-dir` keeps the stack's data, so that a run that was stopped goes on. Prints JSON.
"""

import argparse
import os
import random
import tempfile
from pathlib import Path

import orjson
from index_stack import StackWatch, copy_share, index, running_stack
from report import print_report

from indexer_worker.chunking import Chunker
from kosearch.documents import Document
from kosearch.jobs import JobOptions, JobProgress, SourceFields
from kosearch.model_directory import ModelDirectory
from kosearch.settings import Settings
from kosearch.text import clean
from kosearch.vector_store import VectorStore

_COLLECTION = "benchmark"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--text-field", default="text")
    parser.add_argument("--every", type=int, default=1, help="index every n-th document only")
    parser.add_argument("--again", action="store_true", help="index again: unchanged, touched, changed")
    parser.add_argument("--data-dir", type=Path, help="keep the stack's data here (default: a folder that is removed)")
    given = parser.parse_args()
    fields = SourceFields(text=given.text_field)
    with tempfile.TemporaryDirectory() as folder:
        data_dir = (given.data_dir or Path(folder) / "data").resolve()
        sources = data_dir / "sources"
        sources.mkdir(parents=True, exist_ok=True)
        paths = [sources / f"{source.name.partition('.')[0]}.jsonl" for source in given.sources]
        for source, path in zip(given.sources, paths, strict=True):
            if not path.exists():
                copy_share(source, path, given.every)
        with running_stack(data_dir) as settings, StackWatch(data_dir) as watch:
            first = _run(settings, paths, fields)
            runs = {"first": first}
            if given.again:
                runs |= _run_again(settings, paths, fields)
        print_report(
            "index_corpus",
            {
                "sources": [source.name for source in given.sources],
                "every": given.every,
                **runs,
                "most_memory_mib": watch.most_mib,
                "cpu_s": watch.cpu_s,
                "precision": settings.encoder.precision,
                "worker_concurrency": settings.worker.concurrency,
            },
        )


def _run_again(settings: Settings, paths: list[Path], fields: SourceFields) -> dict[str, dict[str, object]]:
    unchanged = _run(settings, paths, fields)
    for path in paths:
        os.utime(path)
    touched = _run(settings, paths, fields)
    expected = [_change(path, random.Random(1)) for path in paths]
    changed = _run(settings, paths, fields)
    changed["documents_changed"] = sum(changed_count for changed_count, _ in expected)
    changed["documents_gone"] = sum(gone for _, gone in expected)
    return {"unchanged": unchanged, "touched": touched, "changed": changed}


def _change(path: Path, dice: random.Random) -> tuple[int, int]:
    """Change one document in a hundred and take out another one in a hundred. Returns how many."""
    changed = gone = 0
    lines = path.read_bytes().splitlines(keepends=True)
    with path.open("wb") as file:
        for line in lines:
            throw = dice.random()
            if throw < 0.01:
                gone += 1
                continue
            if throw < 0.02:
                value = orjson.loads(line)
                name = next(name for name in ("holding", "text") if name in value)
                line = orjson.dumps({**value, name: f"{value[name]} (개정)"}) + b"\n"  # noqa: PLW2901
                changed += 1
            file.write(line)
    return changed, gone


def _run(settings: Settings, paths: list[Path], fields: SourceFields) -> dict[str, object]:
    progress = index(settings, _COLLECTION, paths, fields, JobOptions())
    expected_documents, expected_chunks = _expected(paths, fields, settings)
    store = VectorStore(settings.qdrant)
    stored = store.count(_COLLECTION)
    store.close()
    return {
        "state": progress.state,
        "documents": progress.documents_indexed,
        "documents_unchanged": progress.documents_unchanged,
        "documents_removed": progress.documents_removed,
        "documents_rejected": progress.documents_rejected,
        "documents_expected": expected_documents,
        "chunks_stored": stored,
        "chunks_expected": expected_chunks,
        "is_exact": stored == expected_chunks
        and progress.documents_indexed + progress.documents_unchanged == expected_documents,
        "tokens": progress.tokens,
        "seconds": round(progress.elapsed_s, 1),
        **_rates(progress),
    }


def _rates(progress: JobProgress) -> dict[str, float]:
    counts = {"documents_per_s": progress.documents_indexed, "chunks_per_s": progress.chunks_indexed}
    return {name: round(count / progress.elapsed_s, 1) for name, count in counts.items()}


def _expected(paths: list[Path], fields: SourceFields, settings: Settings) -> tuple[int, int]:
    """Count documents and chunks of JSONL files; of an identifier that stands twice, the first."""
    model = ModelDirectory.open(settings.encoder.model)
    chunker = Chunker(model.path, model.max_tokens, settings.worker.chunk_overlap_tokens)
    seen: set[str] = set()
    chunks = 0
    for path in paths:
        with path.open("rb") as stream:
            for line in stream:
                value = orjson.loads(line)
                text = "\n\n".join(filter(None, (clean(value.get(name) or "") for name in fields.texts)))
                if text and value["id"] not in seen:
                    seen.add(value["id"])
                    document = Document(value["id"], text, clean(value.get("title") or ""))
                    chunks += sum(1 for _ in chunker.chunks(document))
    return len(seen), chunks


if __name__ == "__main__":
    main()
