"""Texts per second of the ways to encode on this machine, one after the other in each round. Prints JSON, and a table.

    python benchmarks/encoder/bulk.py --shape A [--texts sentences|documents] [--rounds 3] [--peers PYTHON]

Shapes: A is KoBERT's (12 layers of 768), B 6 layers of 384; both with KoBERT's vocabulary and random weights, so speed
and agreement with float32 only. Texts: sentences of KorSTS and XNLI (24 tokens in the mean, 48 at the 95th percentile),
or chunks of XNLI premises of about 200 tokens. `--peers` names the Python of an environment with peers that are not
among our own dependencies (`make peers`). The limit is what torch's float32 product of the layers' own shapes reaches
in the same run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from report import print_report  # the benchmarks are scripts, not a package
from workload import SHAPES, build_model, count_tokens, flops_per_token, read_texts

from kosearch.logs import configure_logs

HERE = Path(__file__).resolve().parent
OURS = ("kosearch f32", "kosearch bf16", "kosearch int8", "sentence-transformers", "sentence-transformers bf16")
PEERS = (
    "sentence-transformers onnx",
    "sentence-transformers onnx int8",
    "sentence-transformers openvino",
    "fastembed",
    "infinity",
    "infinity bf16",
)
_LIMIT_REPEATS = 3
_SHOWN = ("texts_per_s", "ratio", "share_of_f32_limit", "lowest_cosine", "memory_mib")


@dataclass(slots=True)
class Contender:
    """A way to encode in its own process; `why_not` when it is not to be had here."""

    name: str
    process: "subprocess.Popen[str]"
    versions: dict[str, str] = field(default_factory=dict)
    why_not: str = ""
    seconds: list[float] = field(default_factory=list)
    memory_mib: float = 0.0

    def ask(self, order: str) -> str:
        """Send an order and wait for the answer."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="A")
    parser.add_argument("--texts", choices=("sentences", "documents"), default="sentences")
    parser.add_argument("--count", type=int, default=0, help="of texts; 0: 2,000 sentences or 300 documents")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--peers", type=Path, help="Python of the peers' environment")
    parser.add_argument("--only", nargs="*", help="names of the contenders")
    arguments = parser.parse_args()
    configure_logs("benchmark")
    with tempfile.TemporaryDirectory() as folder:
        model = build_model(Path(folder), arguments.shape, arguments.data)
        texts = read_texts(arguments.data, arguments.texts, arguments.count)
        texts_file = Path(folder) / "texts.json"
        texts_file.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
        tokens = count_tokens(model, texts)
        contenders = [
            start(name, python, model, texts_file, arguments.threads)
            for python, names in ((Path(sys.executable), OURS), (arguments.peers, PEERS))
            if python is not None
            for name in names
            if not arguments.only or name in arguments.only
        ]
        able = [contender for contender in contenders if not contender.why_not]
        limit = []
        for _ in range(arguments.rounds):
            limit.append(measure_limit(arguments.shape, arguments.threads))
            for contender in able:
                contender.seconds.append(float(contender.ask("run")))
        cosines = compare(able, Path(folder))
        for contender in able:
            contender.memory_mib = psutil.Process(contender.process.pid).memory_info().rss / (1 << 20)
        for contender in contenders:
            contender.process.terminate()
    figures = summarise(contenders, cosines, len(texts), tokens, float(np.median(limit)), arguments.shape)
    print_table(figures)
    print_report(
        "encoder/bulk",
        {
            "arguments": {name: str(value) for name, value in vars(arguments).items()},
            "texts": len(texts),
            "tokens": tokens,
            "limit_gflop_per_s": round(float(np.median(limit)) / 1e9, 1),
            "contenders": figures,
        },
    )


def start(name: str, python: Path, model: Path, texts: Path, threads: int) -> Contender:
    """Start a contender and wait until it is ready, so that nothing else runs while another works."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE.parents[1]),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(threads),
    }
    process = subprocess.Popen(
        [str(python), str(HERE / "contender.py"), name, str(model), str(texts), str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    assert process.stdout
    word, _, rest = process.stdout.readline().strip().partition(" ")
    if word == "ready":
        return Contender(name, process, json.loads(rest))
    return Contender(name, process, why_not=rest or "it died while it loaded")


def measure_limit(shape: str, threads: int) -> float:
    """FLOP/s of torch's float32 products of the shapes in a layer, 4,096 tokens at once."""
    _, dim, _, wide = SHAPES[shape]
    torch.set_num_threads(threads)
    hidden, up, down, square = (
        torch.randn(4096, dim),
        torch.randn(dim, wide),
        torch.randn(wide, dim),
        torch.randn(dim, dim),
    )
    widened = torch.randn(4096, wide)
    with torch.inference_mode():
        for _ in range(_LIMIT_REPEATS):  # the last one counts
            started = time.perf_counter()
            for _ in range(4):
                hidden @ square
            hidden @ up
            widened @ down
    seconds = time.perf_counter() - started
    return 4096 * flops_per_token(shape) / SHAPES[shape][0] / seconds


def compare(able: list[Contender], folder: Path) -> dict[str, float]:
    """Lowest cosine of each way's embeddings to those of sentence-transformers in float32."""
    rows: dict[str, np.ndarray] = {}
    for number, contender in enumerate(able):
        path = folder / f"{number}.npy"
        contender.ask(f"embeddings {path}")
        found = np.load(path)
        rows[contender.name] = found / np.linalg.norm(found, axis=1, keepdims=True)
    reference = rows.get("sentence-transformers")
    if reference is None:
        return {}
    return {name: float((found * reference).sum(axis=1).min()) for name, found in rows.items()}


def summarise(
    contenders: list[Contender], cosines: dict[str, float], texts: int, tokens: int, limit: float, shape: str
) -> dict[str, dict[str, object]]:
    """Medians, ratios to sentence-transformers' default, share of the limit in matrix products."""
    flops = tokens * flops_per_token(shape)
    default = next((c for c in contenders if c.name == "sentence-transformers" and c.seconds), None)
    figures: dict[str, dict[str, object]] = {}
    for contender in contenders:
        if contender.why_not:
            figures[contender.name] = {"unavailable": contender.why_not}
            continue
        median = float(np.median(contender.seconds))
        figures[contender.name] = {
            "texts_per_s": round(texts / median, 1),
            "tokens_per_s": round(tokens / median),
            "ratio": None if default is None else round(float(np.median(default.seconds)) / median, 2),
            "share_of_f32_limit": round(flops / median / limit, 3),
            "lowest_cosine": round(cosines[contender.name], 6) if contender.name in cosines else None,
            "memory_mib": round(contender.memory_mib),
            "seconds": [round(value, 3) for value in contender.seconds],
            "versions": contender.versions,
        }
    return figures


def print_table(figures: dict[str, dict[str, object]]) -> None:
    """The figures for people, on standard error."""
    table = Table("way", "texts/s", "ratio", "share of limit", "lowest cosine", "MiB")
    for name, row in figures.items():
        if "unavailable" in row:
            table.add_row(name, str(row["unavailable"])[:60], "", "", "", "")
        else:
            table.add_row(name, *(str(row[key]) for key in _SHOWN))
    Console(stderr=True).print(table)


if __name__ == "__main__":
    main()
