"""Texts per second on a GPU: our engine, the service around it, and sentence-transformers. Prints JSON, and a table.

    python benchmarks/encoder/gpu.py [--shape A B] [--texts sentences documents] [--rounds 3] [--data DIRECTORY]

Shapes and texts are those of bulk.py, the texts over and over until they are `--count`. The ways take turns in each
round. Of ours, `ids ready` leaves out the tokeniser, `kernels of torch` our own kernels too, and `service` is a process
of its own, or several, that gets its texts by EncodeStream from this one; its `client_cpu` near 1 means that this
process was the wall. The limit is what torch reaches in bf16 at the products of the layers' own shapes in the same run.
`--device cpu` is a trial of this script.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from batches import in_batches
from report import print_report  # the benchmarks are scripts, not a package
from served import Caller, Calls, Served, running_service
from workload import SHAPES, build_model, flops_per_token, read_texts

from encoder_service.engines.engine import TokenIds
from encoder_service.engines.torch_engine import TorchEngine
from encoder_service.tokeniser import Tokeniser
from kosearch.logs import configure_logs
from kosearch.model_directory import ModelDirectory
from protos.kosearch.v1 import encoder_pb2

_COUNTS = {"sentences": 10_000, "documents": 2_000}
_COMPARED = 64
_LIMIT_REPEATS = 20
_CONNECTIONS = {"cuda": 8, "cpu": 1}
_CONNECTIONS_TO_FRONT_ENDS = {"cuda": 32, "cpu": 2}  # the kernel deals them out at random
_TOKENISED_AT_ONCE = 1024
_TEXTS_A_MESSAGE = {"sentences": 128, "documents": 32}
_REFERENCE = "sentence-transformers f32"
_COMPARED_WITH = "sentence-transformers bf16"


@dataclass(slots=True)
class Way:
    """A way to encode. `run` returns the texts encoded and the seconds; `why_not` when it is not to be had here."""

    run: Callable[[Sequence[str], str], tuple[int, float]] | None = None
    embed: Callable[[list[str]], Any] | None = None
    why_not: str = ""
    facts: dict[str, object] = field(default_factory=dict)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="*", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--texts", nargs="*", choices=list(_COUNTS), default=list(_COUNTS))
    parser.add_argument("--count", type=int, default=0, help="of texts; 0: 10,000 sentences or 2,000 documents")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load on the service in each round")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--max-batch-tokens", type=int, default=16_384)
    parser.add_argument("--front-ends", type=int, default=8)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    configure_logs("benchmark")
    figures = {shape: measure_shape(shape, arguments) for shape in arguments.shape}
    print_report(
        "encoder/gpu",
        {
            "arguments": {name: str(value) for name, value in vars(arguments).items()},
            "gpu": gpu_facts(arguments.device),
            "versions": {name: version(name) for name in ("torch", "sentence-transformers", "transformers")},
            "shapes": figures,
        },
    )


def measure_shape(shape: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All ways on a model of this shape, on each kind of texts."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        model = build_model(Path(folder), shape, arguments.data)
        settings = {
            "KOSEARCH_ENCODER__DEVICE": arguments.device,
            "KOSEARCH_ENCODER__MAX_BATCH_TOKENS": str(arguments.max_batch_tokens),
            "KOSEARCH_ENCODER__MAX_QUEUED_TOKENS": str(1 << 20),
        }
        served = stack.enter_context(running_service(model, settings=settings))
        settings |= {"KOSEARCH_ENCODER__FRONT_ENDS": str(arguments.front_ends)}
        behind_front_ends = stack.enter_context(running_service(model, settings=settings))
        ways = build_ways(model, served, behind_front_ends, arguments)
        tokeniser = Tokeniser.load(ModelDirectory.open(model), 1 << 20)
        figures = {}
        for kind in arguments.texts:
            figures[kind] = measure_texts(kind, ways, tokeniser, shape, arguments)
            print_table(f"{shape}, {kind}", figures[kind])  # at once: a run may be cut off
        return figures


def measure_texts(
    kind: str, ways: dict[str, Way], tokeniser: Tokeniser, shape: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Rounds in which each way has its turn, after one that does not count."""
    count = arguments.count or _COUNTS[kind]
    texts = list(islice(cycle(read_texts(arguments.data, kind, min(count, 100_000))), count))
    tokens = sum(tokeniser.tokenise(texts).token_counts)
    able = {name: way for name, way in ways.items() if way.run is not None}
    rates: dict[str, list[float]] = {name: [] for name in able}
    limits = []
    for number in range(arguments.rounds + 1):
        limits.append(measure_limit(shape, arguments.device, arguments.max_batch_tokens))
        for name, way in able.items():
            assert way.run is not None
            encoded, seconds = way.run(texts, kind)
            if number:
                rates[name].append(encoded / seconds)
    limit = float(np.median(limits[1:]))
    cosines = compare(ways, texts[:_COMPARED])
    return {
        "texts": len(texts),
        "tokens": tokens,
        "limit_tflop_per_s": round(limit / 1e12, 2),
        "ways": summarise(ways, rates, cosines, tokens / len(texts), limit, shape),
    }


def build_ways(model: Path, served: Served, behind_front_ends: Served, arguments: argparse.Namespace) -> dict[str, Way]:
    """Every way to encode, loaded."""
    half = {"dtype": torch.bfloat16}
    flash = {**half, "attn_implementation": "flash_attention_2"}
    return {
        "kosearch": attempt(lambda: kosearch(model, arguments, from_texts=True)),
        "kosearch, ids ready": attempt(lambda: kosearch(model, arguments)),
        "kosearch, ids ready, no graphs": attempt(lambda: kosearch(model, arguments, with_graphs=False)),
        "kosearch, ids ready, kernels of torch": attempt(lambda: kosearch(model, arguments, with_own_kernels=False)),
        "kosearch service": service(served, _CONNECTIONS[arguments.device], arguments.seconds),
        f"kosearch service, {arguments.front_ends} front-ends": service(
            behind_front_ends, _CONNECTIONS_TO_FRONT_ENDS[arguments.device], arguments.seconds
        ),
        _REFERENCE: attempt(lambda: sentence_transformers(model, arguments.device, {}, 32)),
        _COMPARED_WITH: attempt(lambda: sentence_transformers(model, arguments.device, half, 32)),
        "sentence-transformers bf16, batches of 256": attempt(
            lambda: sentence_transformers(model, arguments.device, half, 256)
        ),
        "sentence-transformers bf16, flash attention, batches of 256": attempt(
            lambda: sentence_transformers(model, arguments.device, flash, 256)
        ),
    }


def attempt(load: Callable[[], Way]) -> Way:
    """Load a way and try it; whatever a library does when it cannot, the table says why."""
    try:
        way = load()
        assert way.embed is not None
        way.embed(["한 남자가 음식을 먹는다."])
    except Exception as error:
        return Way(why_not=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    return way


def kosearch(
    model: Path,
    arguments: argparse.Namespace,
    *,
    from_texts: bool = False,
    with_graphs: bool = True,
    with_own_kernels: bool = True,
) -> Way:
    """Our engine in this process, in arrival order, one batch ahead, as the service's thread runs it."""
    directory = ModelDirectory.open(model)
    if arguments.device == "cpu" and not from_texts:
        raise RuntimeError("a CPU has neither graphs nor kernels of ours")
    started = time.perf_counter()
    device = "cuda:0" if arguments.device == "cuda" else "cpu"
    max_tokens = arguments.max_batch_tokens
    engine = TorchEngine.load(
        directory, device, max_batch_tokens=max_tokens, with_graphs=with_graphs, with_own_kernels=with_own_kernels
    )
    loading_s = round(time.perf_counter() - started, 2)
    tokeniser = Tokeniser.load(directory, 1 << 20)

    def tokenised(texts: Sequence[str]) -> Iterator[TokenIds]:
        for first in range(0, len(texts), _TOKENISED_AT_ONCE):  # the GPU works while the next ones are tokenised
            yield from tokeniser.tokenise(texts[first : first + _TOKENISED_AT_ONCE]).token_ids

    def run(texts: Sequence[str], kind: str) -> tuple[int, float]:
        ids: Iterable[TokenIds] = tokenised(texts) if from_texts else list(tokenised(texts))
        started = time.perf_counter()
        rows = encode_ahead(engine, ids, max_tokens)
        return len(rows), time.perf_counter() - started

    facts = {"precision": engine.precision, "loading_s": loading_s}
    return Way(run, lambda texts: encode_ahead(engine, tokenised(texts), max_tokens), facts=facts)


def encode_ahead(engine: TorchEngine, token_ids: Iterable[TokenIds], max_tokens: int) -> np.ndarray:
    """Embeddings, shape (texts, dim): the next batch is submitted before the last one is waited for."""
    running: deque[Callable[[], np.ndarray]] = deque()
    rows = []
    for batch in in_batches(token_ids, max_tokens):
        running.append(engine.submit(batch))
        if len(running) == 2:
            rows.append(running.popleft()())
    return np.concatenate([*rows, *(wait() for wait in running)])


def service(served: Served, connections: int, seconds: float) -> Way:
    """The service, asked for as much as it gives."""
    facts: dict[str, object] = {}

    async def load(texts: Sequence[str], kind: str) -> tuple[int, float]:
        callers = [Caller(served.address, texts, encoder_pb2.PRIORITY_BULK) for _ in range(connections)]
        calls = [Calls() for _ in callers]
        started, worked = time.perf_counter(), time.process_time()
        until = started + seconds
        size = min(_TEXTS_A_MESSAGE[kind], len(texts))
        await asyncio.gather(
            *(caller.stream(size, counted, until) for caller, counted in zip(callers, calls, strict=True))
        )
        facts["client_cpu"] = round((time.process_time() - worked) / (time.perf_counter() - started), 2)
        for caller in callers:
            await caller.close()
        return sum(counted.texts for counted in calls), seconds

    return Way(lambda texts, kind: asyncio.run(load(texts, kind)), facts=facts)


def sentence_transformers(model: Path, device: str, options: dict[str, Any], batch_size: int) -> Way:
    """`SentenceTransformer.encode`, which sorts texts by length. By default it takes batches of 32, in float32."""
    loaded = SentenceTransformer(str(model), device=device, model_kwargs=options)

    def encode(texts: Sequence[str]) -> np.ndarray:
        return np.asarray(loaded.encode(list(texts), batch_size=batch_size, show_progress_bar=False), np.float32)

    def run(texts: Sequence[str], kind: str) -> tuple[int, float]:
        started = time.perf_counter()
        return len(encode(texts)), time.perf_counter() - started

    return Way(run, encode)


def measure_limit(shape: str, device: str, tokens: int) -> float:
    """FLOP/s of torch's bf16 products of the shapes in a layer, as many tokens at once as our batches have."""
    _, dim, _, wide = SHAPES[shape]
    tokens, repeats = (tokens, _LIMIT_REPEATS) if device == "cuda" else (min(tokens, 512), 1)
    hidden, widened, *weights = (
        torch.randn(*size, device=device, dtype=torch.bfloat16)
        for size in ((tokens, dim), (tokens, wide), (3 * dim, dim), (dim, dim), (wide, dim), (dim, wide))
    )
    seconds = 0.0
    with torch.inference_mode():
        for _ in range(2):  # the second counts
            synchronise(device)
            started = time.perf_counter()
            for _ in range(repeats):
                for weight in weights:
                    functional.linear(hidden if weight.shape[1] == dim else widened, weight)
            synchronise(device)
            seconds = time.perf_counter() - started
    return repeats * tokens * flops_per_token(shape) / SHAPES[shape][0] / seconds


def synchronise(device: str) -> None:
    """Wait for all that the GPU was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def compare(ways: dict[str, Way], texts: list[str]) -> dict[str, float]:
    """Lowest cosine of each way's embeddings to those of sentence-transformers in float32."""
    rows = {}
    for name, way in ways.items():
        if way.embed is not None:
            found = np.asarray(way.embed(texts), np.float32)
            rows[name] = found / np.linalg.norm(found, axis=1, keepdims=True)
    reference = rows.get(_REFERENCE)
    return {} if reference is None else {n: float((found * reference).sum(axis=1).min()) for n, found in rows.items()}


def summarise(
    ways: dict[str, Way],
    rates: dict[str, list[float]],
    cosines: dict[str, float],
    tokens_per_text: float,
    limit: float,
    shape: str,
) -> dict[str, dict[str, object]]:
    """Medians, ratios to sentence-transformers in bf16, share of the limit in matrix products."""
    compared_with = float(np.median(rates[_COMPARED_WITH])) if rates.get(_COMPARED_WITH) else None
    figures: dict[str, dict[str, object]] = {}
    for name, way in ways.items():
        if way.run is None:
            figures[name] = {"unavailable": way.why_not}
            continue
        median = float(np.median(rates[name]))
        figures[name] = {
            "texts_per_s": round(median, 1),
            "tokens_per_s": round(median * tokens_per_text),
            "ratio": None if compared_with is None else round(median / compared_with, 2),
            "share_of_bf16_limit": round(median * tokens_per_text * flops_per_token(shape) / limit, 3),
            "lowest_cosine": round(cosines[name], 6) if name in cosines else None,
            "rounds_texts_per_s": [round(rate, 1) for rate in rates[name]],
            **way.facts,
        }
    return figures


def gpu_facts(device: str) -> dict[str, object]:
    """What was measured on."""
    if device == "cpu":
        return {"name": "none: a trial on the CPU", "cores": os.cpu_count()}
    major, minor = torch.cuda.get_device_capability()
    return {"name": torch.cuda.get_device_name(), "capability": f"{major}.{minor}", "cuda": torch.version.cuda}


def print_table(title: str, measured: dict[str, Any]) -> None:
    """The figures for people, on standard error."""
    title = f"{title}, limit {measured['limit_tflop_per_s']} TFLOP/s"
    table = Table("way", "texts/s", "tokens/s", "ratio", "share of limit", "lowest cosine", "client CPU", title=title)
    keys = ("texts_per_s", "tokens_per_s", "ratio", "share_of_bf16_limit", "lowest_cosine", "client_cpu")
    for name, row in measured["ways"].items():
        cells = [str(row["unavailable"])[:60]] if "unavailable" in row else [str(row.get(key, "")) for key in keys]
        table.add_row(name, *cells)
    Console(stderr=True, width=150).print(table)


if __name__ == "__main__":
    main()
