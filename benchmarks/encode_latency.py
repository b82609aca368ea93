"""How fast is the CPU engine, by precision, and what memory does it take? One text alone, full batches. Prints JSON.

    python benchmarks/encode_latency.py [--layers 4] [--dim 384] [--threads 0] [--seconds 5]

Random weights, so speed only; lengths as of Korean sentences (lognormal, 21 tokens in the mean). Precisions take turns.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import openvino as ov
import psutil
from numpy.typing import NDArray

from encoder_service.engines.bert_graph import build_bert_graph
from encoder_service.engines.cpu import CpuEngine, Precision
from kosearch.architecture import BertConfig
from kosearch.int8_weights import Int8Matrix, quantise_weights

SEED = 0
VOCABULARY_SIZE = 24_000
BATCH_TOKENS = 4096
SINGLE_LENGTHS = (8, 22, 60, 200)
PRECISIONS: tuple[Precision, ...] = ("f32", "bf16", "int8")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure")
    arguments = parser.parse_args()
    random = np.random.default_rng(SEED)
    config = BertConfig(arguments.layers, arguments.dim // 64, arguments.dim, 512, 1e-12)
    weights = random_weights(config, random)
    engines = {precision: build_engine(config, weights, precision, arguments.threads) for precision in PRECISIONS}
    works: dict[str, list[NDArray[np.int32]]] = {
        f"one_text_of_{length}": [random.integers(4, VOCABULARY_SIZE, length).astype(np.int32)]
        for length in SINGLE_LENGTHS
    } | {"batch": sentences(random)}
    figures = {name: figures_of(engines, work, arguments.seconds) for name, work in works.items()}
    memory_mib = {precision: in_new_process(memory_of, config, precision) for precision in PRECISIONS}
    report = {**circumstances(), "arguments": vars(arguments), "memory_mib": memory_mib, "figures": figures}
    print(json.dumps(report, indent=1))  # noqa: T201


def build_engine(
    config: BertConfig, weights: dict[str, NDArray[np.float32]], precision: Precision, threads: int
) -> CpuEngine:
    """Compile the model; for int8 from weights as a model directory's int8 file holds them."""
    chosen: dict[str, NDArray[np.float32] | Int8Matrix] = dict(weights)
    if precision == "int8":
        chosen = {
            name: tensor if isinstance(tensor, Int8Matrix) else tensor.astype(np.float32)
            for name, tensor in quantise_weights(weights).items()
        }
    return CpuEngine(build_bert_graph(config, chosen), config.dim, precision, threads)


def memory_of(config: BertConfig, precision: Precision) -> int:
    """Return the resident MiB that an engine adds to this process, which should be a new one."""
    ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")  # the library itself is loaded before counting
    before = psutil.Process().memory_info().rss
    engine = build_engine(config, random_weights(config, np.random.default_rng(SEED)), precision, threads=1)
    gc.collect()
    added = psutil.Process().memory_info().rss - before
    del engine
    return added >> 20


def in_new_process(measure: Callable[[BertConfig, Precision], int], config: BertConfig, precision: Precision) -> int:
    """Call `measure` where no other engine has left memory to be used again."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, config, precision).result()


def figures_of(
    engines: dict[Precision, CpuEngine], work: list[NDArray[np.int32]], seconds: float
) -> dict[Precision, dict[str, float]]:
    """Run the precisions in turn. Returns p50 and p99 in ms, and tokens/s at the median."""
    times: dict[Precision, list[float]] = {precision: [] for precision in engines}
    for engine in engines.values():
        engine.encode(work)
    end = time.perf_counter() + seconds * len(engines)
    while time.perf_counter() < end:
        for precision, engine in engines.items():
            started = time.perf_counter()
            engine.encode(work)
            times[precision].append(time.perf_counter() - started)
    tokens = sum(map(len, work))
    return {
        precision: {
            "p50_ms": round(float(np.percentile(taken, 50)) * 1e3, 2),
            "p99_ms": round(float(np.percentile(taken, 99)) * 1e3, 2),
            "tokens_per_s": round(tokens / float(np.median(taken))),
            "texts_per_s": round(len(work) / float(np.median(taken))),
        }
        for precision, taken in times.items()
    }


def sentences(random: np.random.Generator) -> list[NDArray[np.int32]]:
    """Return one batch of sentences."""
    batch: list[NDArray[np.int32]] = []
    while sum(map(len, batch)) < BATCH_TOKENS - 128:
        length = int(np.clip(random.lognormal(np.log(19), 0.5), 4, 128))
        batch.append(random.integers(4, VOCABULARY_SIZE, length).astype(np.int32))
    return batch


def random_weights(config: BertConfig, random: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Return weights of the right shapes."""
    dim, wide = config.dim, 4 * config.dim
    sizes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCABULARY_SIZE, dim),
        "embeddings.position_embeddings.weight": (config.max_positions, dim),
        "embeddings.token_type_embeddings.weight": (2, dim),
        **_pair("embeddings.LayerNorm", dim),
    }
    for number in range(config.layers):
        layer = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            sizes |= _pair(f"{layer}.attention.self.{part}", dim, dim)
        sizes |= _pair(f"{layer}.attention.output.dense", dim, dim) | _pair(f"{layer}.attention.output.LayerNorm", dim)
        sizes |= _pair(f"{layer}.intermediate.dense", wide, dim) | _pair(f"{layer}.output.dense", dim, wide)
        sizes |= _pair(f"{layer}.output.LayerNorm", dim)
    return {name: (random.standard_normal(size) * 0.04).astype(np.float32) for name, size in sizes.items()}


def _pair(name: str, outputs: int, *inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, *inputs), f"{name}.bias": (outputs,)}


def circumstances() -> dict[str, object]:
    """Tell where and on what this was measured."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip(),
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "seed": SEED,
    }


if __name__ == "__main__":
    main()
