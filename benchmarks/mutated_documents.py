"""Damaged files of foreign formats, through the process that reads them: what becomes of them. Prints JSON.

    python benchmarks/mutated_documents.py [--documents ../shared/data/documents] [--count 500] [--seed 0]

Bits flipped, files cut off, archives with a member that unpacks to gigabytes, XML and HTML nested without end.
"""

import argparse
import random
import resource
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

from report import print_report  # the benchmarks are scripts, not a package

from indexer_worker.conversion.failure import ConversionError
from indexer_worker.readers.byte_streams import open_bytes

_BOMB_MIB = 2048


def main() -> None:
    """Mutate, read, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path, default=Path("../shared/data/documents"))
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    originals = sorted(path for path in arguments.documents.rglob("*") if path.is_file())
    outcomes: Counter[str] = Counter()
    slowest_s, slowest = 0.0, ""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.count):
            original = originals[number % len(originals)]
            kind, path = _mutate(original, Path(folder) / f"mutated{original.suffix}", chance)
            started = time.perf_counter()
            outcomes[f"{kind}: {_outcome(path)}"] += 1
            elapsed_s = time.perf_counter() - started
            if elapsed_s > slowest_s:
                slowest_s, slowest = elapsed_s, f"{kind} of {original.name}"
    print_report(
        "mutated_documents",
        {
            "files": arguments.count,
            "seed": arguments.seed,
            "outcomes": dict(sorted(outcomes.items())),
            "slowest_s": round(slowest_s, 2),
            "slowest": slowest,
            # of the largest process that read one
            "highest_memory_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        },
    )


def _mutate(original: Path, path: Path, chance: random.Random) -> tuple[str, Path]:
    content = bytearray(original.read_bytes())
    kind = chance.choices(("flipped", "cut", "bomb", "nested"), (12, 6, 1, 1))[0]
    if kind == "flipped":
        for _ in range(chance.choice((1, 10, 100, 1000))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del content[chance.randrange(len(content)) :]
    elif kind == "bomb":
        path = path.with_suffix(".hwpx")
        mib = chance.choice((_BOMB_MIB, 400))  # over what is looked for, and under
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("Contents/section0.xml", "w", force_zip64=True) as member,
        ):
            for _ in range(mib):
                member.write(b"<a>" * (1 << 18))
        return kind, path
    else:
        path = path.with_suffix(chance.choice((".html", ".md")))
        content = bytearray((b"<div>" if path.suffix == ".html" else b"> ") * 100_000 + "깊은 글".encode())
    path.write_bytes(content)
    return kind, path


def _outcome(path: Path) -> str:
    try:
        with open_bytes(path) as stream:
            stream.read()
    except ConversionError as error:
        return error.reason.value
    return "read"


if __name__ == "__main__":
    main()
