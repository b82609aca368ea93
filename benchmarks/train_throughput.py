"""How fast is a training step: packed rows in the precision chosen for this machine, against plain autocast training?

    python benchmarks/train_throughput.py [--model models/kosearch-mini-ko] [--data ../shared/data] [--rounds 5]

One model, the same batches of KorSTS sentences in arrival order, the same loss (in-batch neighbours) and AdamW step.
The ways take turns; the figures are medians over rounds. Tokens are real ones: padding counts as time, never as work.
A token costs 6 floating-point operations a weight of the layers, forward and backward; attention is left out. Prints
JSON.
"""

import argparse
import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from report import print_report
from sentence_transformers import SentenceTransformer

from trainer.data.datasets import korsts_train
from trainer.encoders.packing import packed_if_possible
from trainer.training.losses import neighbourhood_cross_entropy
from trainer.training.precision import has_bf16
from trainer.training.train import keep_freed_memory

_WARM_UP_STEPS = 2


@dataclass(slots=True)
class Way:
    """One way to train: a copy of the model, and the contexts that its steps run in."""

    model: SentenceTransformer
    rows: Callable[[SentenceTransformer], AbstractContextManager[None]]
    autocast: torch.dtype | None
    tokens_per_s: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/kosearch-mini-ko")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=4, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = SentenceTransformer(arguments.model, device=str(device), model_kwargs={"dtype": torch.float32})
    model.max_seq_length = 64
    chosen = torch.bfloat16 if has_bf16(device) else None
    ways = {
        "padded, bf16 autocast": Way(copy.deepcopy(model), lambda _: nullcontext(), torch.bfloat16),
        "padded, float32": Way(copy.deepcopy(model), lambda _: nullcontext(), None),
        "packed, precision of this machine": Way(copy.deepcopy(model), packed_if_possible, chosen),
    }
    texts = [text for first, second, _ in korsts_train(arguments.data) for text in (first, second)]
    for round_number in range(-1, arguments.rounds):  # the first round warms up
        steps = _WARM_UP_STEPS if round_number < 0 else arguments.steps
        batches = [_batch(texts, arguments.batch_size, round_number * steps + step) for step in range(steps)]
        for way in ways.values():
            speed = _tokens_per_s(way, batches)
            if round_number >= 0:
                way.tokens_per_s.append(speed)
    medians = {name: float(np.median(way.tokens_per_s)) for name, way in ways.items()}
    ours = medians["packed, precision of this machine"]
    weights = sum(p.numel() for p in model[0].auto_model.encoder.parameters())
    print_report(
        "train_throughput",
        {
            "model": arguments.model,
            "weights_in_layers": weights,
            "batch_size": arguments.batch_size,
            "device": str(device),
            "precision_of_this_machine": "float32" if chosen is None else "bfloat16 autocast",
            "tokens_per_s": {name: round(speed) for name, speed in medians.items()},
            "tflop_per_s": {name: round(6 * weights * speed / 1e12, 4) for name, speed in medians.items()},
            "ratio_of_ours_to": {name: round(ours / speed, 2) for name, speed in medians.items()},
        },
    )


def _batch(texts: list[str], size: int, number: int) -> list[str]:
    start = (number + 2) * size % (len(texts) - size)
    return texts[start : start + size]


def _tokens_per_s(way: Way, batches: list[list[str]]) -> float:
    optimizer = torch.optim.AdamW(way.model.parameters(), lr=1e-5, fused=True)
    device = way.model.device
    tokens = 0
    began = time.perf_counter()
    with way.rows(way.model):
        for batch in batches:
            prepared = way.model.preprocess(batch)
            features = {name: prepared[name].to(device) for name in ("input_ids", "attention_mask")}
            tokens += int(features["attention_mask"].sum())
            with torch.autocast(device.type, way.autocast) if way.autocast else nullcontext():
                embeddings = way.model(features)["sentence_embedding"].float()  # (batch, dim)
            neighbourhood_cross_entropy(embeddings, embeddings.detach(), 0.05).backward()
            optimizer.step()
            optimizer.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return tokens / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
