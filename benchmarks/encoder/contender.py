"""One way to encode, in a process and an environment of its own: loads a model, then works when it is told to.

    python contender.py NAME MODEL_DIR TEXTS.json THREADS

Prints `ready` with its versions as JSON, or `unavailable` with a reason. For each line `run` on standard input it
encodes all texts and prints the seconds; for `embeddings PATH` it writes the embeddings of the first texts. It imports
nothing of kosearch but for its own ways, so that it runs in the peers' environment as well.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

_COMPARED = 64

Encode = Callable[[list[str]], Any]


def kosearch(model: Path, threads: int, precision: str) -> Encode:
    """Our engine: tokenised, packed into rows and computed in batches of 4,096 tokens, in arrival order."""
    from batches import in_batches

    from encoder_service.engines.cpu import CpuEngine
    from encoder_service.tokeniser import Tokeniser
    from kosearch.model_directory import ModelDirectory

    directory = ModelDirectory.open(model)
    engine = CpuEngine.load(directory, precision, threads)
    if engine.precision != precision:
        raise RuntimeError(f"this CPU has no {precision}")
    tokeniser = Tokeniser.load(directory, 1 << 20)

    def encode(texts: list[str]) -> Any:
        token_ids = tokeniser.tokenise(texts).token_ids
        return np.concatenate([engine.encode(batch) for batch in in_batches(token_ids, 4096)])

    return encode


def sentence_transformers(model: Path, threads: int, dtype: str, **options: Any) -> Encode:
    """`SentenceTransformer.encode` as its documentation shows it: batches of 32, sorted by length."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    loaded = SentenceTransformer(str(model), device="cpu", **options)
    if dtype == "bf16":
        loaded.bfloat16()
    return lambda texts: loaded.encode(texts, show_progress_bar=False)


def sentence_transformers_onnx_int8(model: Path, threads: int) -> Encode:
    """The dynamic int8 that its documentation advises on CPUs, in a copy of the model that no other way finds."""
    import onnxruntime
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    ours: dict[str, Any] = {"provider": "CPUExecutionProvider", "session_options": options}
    loaded = SentenceTransformer(str(model), device="cpu", backend="onnx", model_kwargs=ours)
    quantised = Path(shutil.copytree(model, model.with_name(f"{model.name}-onnx-int8")))
    export_dynamic_quantized_onnx_model(loaded, "avx2", str(quantised))
    (file,) = (quantised / "onnx").glob("*avx2.onnx")
    ours["file_name"] = f"onnx/{file.name}"
    return sentence_transformers(quantised, threads, "f32", backend="onnx", model_kwargs=ours)


def fastembed(model: Path, threads: int) -> Encode:
    """fastembed, which reads ONNX: the model is converted first, into MODEL_DIR/onnx/model.onnx."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    if not (model / "onnx" / "model.onnx").exists():
        from optimum.onnxruntime import ORTModelForFeatureExtraction

        ORTModelForFeatureExtraction.from_pretrained(model, export=True).save_pretrained(model / "onnx")
    name = f"benchmark/{model.name}"
    TextEmbedding.add_custom_model(
        model=name,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf=name),
        dim=_dim(model),
        model_file="onnx/model.onnx",
    )
    loaded = TextEmbedding(name, threads=threads, specific_model_path=str(model))
    return lambda texts: np.stack(list(loaded.embed(texts)))


def infinity(model: Path, threads: int, dtype: str) -> Encode:
    """infinity's engine, as its server runs it: torch, dynamic batches."""
    import asyncio

    import torch
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs

    torch.set_num_threads(threads)
    arguments = EngineArgs(
        model_name_or_path=str(model),
        engine="torch",
        device="cpu",
        dtype=dtype,
        bettertransformer=False,
        lengths_via_tokenize=False,
        model_warmup=False,
    )
    engine = AsyncEmbeddingEngine.from_args(arguments)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(engine.astart())
    return lambda texts: np.stack(loop.run_until_complete(engine.embed(sentences=texts))[0])


def _dim(model: Path) -> int:
    return int(json.loads((model / "config.json").read_text())["hidden_size"])


WAYS: dict[str, tuple[Callable[[Path, int], Encode], tuple[str, ...]]] = {
    "kosearch f32": (lambda m, t: kosearch(m, t, "f32"), ("openvino",)),
    "kosearch bf16": (lambda m, t: kosearch(m, t, "bf16"), ("openvino",)),
    "kosearch int8": (lambda m, t: kosearch(m, t, "int8"), ("openvino",)),
    "sentence-transformers": (lambda m, t: sentence_transformers(m, t, "f32"), ("sentence-transformers", "torch")),
    "sentence-transformers bf16": (
        lambda m, t: sentence_transformers(m, t, "bf16"),
        ("sentence-transformers", "torch"),
    ),
    "sentence-transformers onnx": (
        lambda m, t: sentence_transformers(
            m, t, "f32", backend="onnx", model_kwargs={"provider": "CPUExecutionProvider"}
        ),
        ("sentence-transformers", "optimum", "onnxruntime"),
    ),
    "sentence-transformers onnx int8": (sentence_transformers_onnx_int8, ("sentence-transformers", "onnxruntime")),
    "sentence-transformers openvino": (
        lambda m, t: sentence_transformers(m, t, "f32", backend="openvino"),
        ("sentence-transformers", "optimum-intel", "openvino"),
    ),
    "fastembed": (fastembed, ("fastembed", "onnxruntime")),
    "infinity": (lambda m, t: infinity(m, t, "float32"), ("infinity-emb", "torch")),
    "infinity bf16": (lambda m, t: infinity(m, t, "bfloat16"), ("infinity-emb", "torch")),
}


def main() -> None:
    """Load, then work as told."""
    name, model, texts_file, threads = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true" if threads > 1 else "false")
    texts = json.loads(texts_file.read_text(encoding="utf-8"))
    load, packages = WAYS[name]
    answers = sys.stdout
    sys.stdout = sys.stderr  # libraries print where our answers go
    try:
        encode = load(model, threads)
        encode(texts[:_COMPARED])
    except Exception as error:  # whatever a library does when it cannot: the table says why
        answers.write(f"unavailable {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}\n")
        answers.flush()
        return
    answers.write(f"ready {json.dumps({package: version(package) for package in packages})}\n")
    answers.flush()
    for line in sys.stdin:
        order, _, argument = line.strip().partition(" ")
        if order == "embeddings":
            np.save(argument, np.asarray(encode(texts[:_COMPARED]), np.float32))
            answers.write("done\n")
        else:
            started = time.perf_counter()
            encode(texts)
            answers.write(f"{time.perf_counter() - started}\n")
        answers.flush()


if __name__ == "__main__":
    main()
