"""What the encoder's benchmarks work on: models of known shapes with random weights, and real Korean texts."""

import csv
import json
from pathlib import Path
from random import Random

import torch

from encoder_service.tokeniser import Tokeniser
from kosearch.model_directory import ModelDirectory
from trainer.encoders.base_model import load_base_model
from trainer.publishing.export import export_model

# layers, dim, heads, dim of the wide layer: A is KoBERT's
SHAPES = {"A": (12, 768, 12, 3072), "B": (6, 384, 12, 1536)}
# A chunk of about 200 tokens.
_DOCUMENT_CHARACTERS = 400


def build_model(folder: Path, shape: str, data: Path) -> Path:
    """A model directory of random weights with KoBERT's tokenizer."""
    layers, dim, heads, wide = SHAPES[shape]
    source = folder / "source"
    source.mkdir()
    for file in (data / "kobert").iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config |= {
        "num_hidden_layers": layers,
        "hidden_size": dim,
        "num_attention_heads": heads,
        "intermediate_size": wide,
    }
    (source / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    made = load_base_model(str(source / "config.json"), 512)
    trained = folder / "trained"
    made.save_pretrained(str(trained))
    return export_model(str(trained), folder / f"shape-{shape}", name=f"shape-{shape}").path


def read_texts(data: Path, kind: str, count: int) -> list[str]:
    """Sentences of KorSTS and premises of XNLI in turns, or premises joined to chunks of about 200 tokens."""
    premises = list(dict.fromkeys(row["sentence1"] for row in _rows(data / "kornlu" / "xnli.test.ko.tsv")))
    if kind == "sentences":
        pairs = _rows(data / "kornlu" / "sts-train.tsv")
        sentences = [text for row in pairs for text in (row["sentence1"], row["sentence2"])]
        Random(0).shuffle(sentences)  # the file begins with its shortest
        mixed = [text for pair in zip(sentences, premises, strict=False) for text in pair]
        return mixed[: count or 2000]
    chunks, current = [], ""
    for premise in premises:
        current = f"{current} {premise}".strip()
        if len(current) > _DOCUMENT_CHARACTERS:
            chunks.append(current)
            current = ""
    return chunks[: count or 300]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def flops_per_token(shape: str) -> int:
    """Of the products with weights, the attention left out."""
    layers, dim, _, wide = SHAPES[shape]
    return 2 * layers * (4 * dim * dim + 2 * dim * wide)


def count_tokens(model: Path, texts: list[str]) -> int:
    """Real tokens of the texts, special ones included."""
    return sum(Tokeniser.load(ModelDirectory.open(model), 1 << 20).tokenise(texts).token_counts)
