"""The model that training starts from: KoBERT and its kin, any encoder of the hub or of a directory, or a fresh one.

Nothing that a model brings along is executed: KoBERT's tokenizers, which come as Python code on the hub, are converted
from their SentencePiece files (`kobert_tokenizer`).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import structlog
import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from kosearch.errors import ModelError, NotFoundError
from trainer.encoders.kobert_tokenizer import (
    SentencePieceModel,
    convert_tokenizer,
    is_of_kobert_kind,
    read_sentencepiece,
    read_vocabulary,
)
from trainer.encoders.model_source import download_files

log = structlog.get_logger()

_DESCRIPTION = ("*.json", "*.txt", "*.model")
_SAFETENSORS = ("*.safetensors",)
_PICKLES = ("pytorch_model*.bin",)
# skt/kobert-base-v1, monologg/kobert and monologg/distilkobert in this order.
_SENTENCEPIECE_FILES = ("spiece.model", "tokenizer_78b3253a26.model")
_VOCABULARY_FILES = ("kobertvocab_*.json", "vocab.txt")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
# The first position of these models is that behind the padding token's id.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"})
# Damaged or foreign files make the libraries raise about anything; each of these was seen.
_LOAD_ERRORS = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError, SafetensorError)


def kobert_config() -> BertConfig:
    """KoBERT's shape: 92 M parameters. Source: config.json of SKTBrain/KoBERT (Apache-2.0)."""
    return BertConfig(
        vocab_size=8002,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        max_position_embeddings=512,
        type_vocab_size=2,
        initializer_range=0.02,
        layer_norm_eps=1e-12,
        pad_token_id=1,
    )


def load_base_model(name: str, max_tokens: int) -> SentenceTransformer:
    """Load a model to be trained, in float32 on the CPU, with mean pooling where it has no pooling of its own.

    name: id of an encoder on the hub (`monologg/kobert`); a directory with a transformers checkpoint or a
        sentence-transformers model; or a `config.json` beside tokenizer files: a fresh model with random weights
    max_tokens: tokens of a text that the model reads, special tokens included
    Raises NotFoundError when there is no such model, ModelError when it cannot be downloaded, loaded or used as an
    encoder.
    """
    path = Path(name)
    if path.is_dir():
        return _load_folder(path, name, max_tokens)
    if path.is_file() and path.suffix == ".json":
        return _build_encoder(path.parent, name, max_tokens, _fresh_model(_read_config(path)))
    if path.exists() or not _is_hub_id(name):
        raise NotFoundError(
            f"{name} is no model: give a directory, a config.json, or the id of a model on the hub, such as owner/name"
        )
    folder = download_files(name, _DESCRIPTION)
    if not (folder / "modules.json").is_file():
        _refuse_decoder(_read_config(folder / "config.json"), name)
    if not _has_weights(download_files(name, _SAFETENSORS)):
        download_files(name, _PICKLES)
    return _load_folder(folder, name, max_tokens)


def _is_hub_id(name: str) -> bool:
    return not name.startswith((".", "/", "~")) and "\\" not in name and name.count("/") <= 1 and bool(name.strip())


def _load_folder(folder: Path, name: str, max_tokens: int) -> SentenceTransformer:
    if (folder / "modules.json").is_file():
        return _load_sentence_transformer(folder, name, max_tokens)
    config = _read_config(folder / "config.json")
    _refuse_decoder(config, name)
    if not _has_weights(folder):
        raise ModelError(
            f"{name} has no weights (model.safetensors or pytorch_model.bin): complete the copy, or give "
            "its config.json instead of the directory to start from random weights"
        )
    return _build_encoder(folder, name, max_tokens, _pretrained_model(folder, config, name))


def _load_sentence_transformer(folder: Path, name: str, max_tokens: int) -> SentenceTransformer:
    try:
        model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    except _LOAD_ERRORS as error:
        raise ModelError(
            f"{name} cannot be loaded by sentence-transformers ({type(error).__name__}: {error}); copy it again"
        ) from error
    modules = list(model)
    if isinstance(modules[0], Transformer):
        _refuse_decoder(modules[0].auto_model.config, name)
        _check_max_tokens(modules[0].auto_model.config, name, max_tokens)
        if not any(isinstance(module, Pooling) for module in modules):
            model = SentenceTransformer(modules=[modules[0], _mean_pooling(modules[0], name), *modules[1:]])
    model.max_seq_length = max_tokens
    return model


def _build_encoder(folder: Path, name: str, max_tokens: int, model: PreTrainedModel) -> SentenceTransformer:
    """Put encoder, tokenizer and mean pooling together."""
    _check_max_tokens(model.config, name, max_tokens)
    tokenizer = _load_tokenizer(folder, name, max_tokens)
    _check_vocabulary_size(model.config, tokenizer, name)
    # sentence-transformers takes files only.
    with tempfile.TemporaryDirectory() as files:
        model.save_pretrained(files)
        tokenizer.save_pretrained(files)
        transformer = Transformer(files, max_seq_length=max_tokens, model_kwargs={"dtype": torch.float32})
    return SentenceTransformer(modules=[transformer, _mean_pooling(transformer, name)], device="cpu")


def _mean_pooling(transformer: Transformer, name: str) -> Pooling:
    log.info("pooling.added", model=name, mode="mean")
    pooling: Pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    return pooling


def _read_config(path: Path) -> PretrainedConfig:
    if not path.is_file():
        raise ModelError(
            f"{path.parent} has no config.json; a transformers checkpoint needs one (some archives call it "
            "bert_config.json: rename it)"
        )
    try:
        # Not by the directory: transformers then reports a damaged file as a missing model.
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = described.pop("model_type", "bert" if "BertModel" in described.get("architectures", ()) else None)
        return AutoConfig.for_model(kind, **described)
    except _LOAD_ERRORS as error:
        raise ModelError(f"{path} describes no model that transformers knows ({error}); copy it again") from error


def _refuse_decoder(config: PretrainedConfig, name: str) -> None:
    kind = config.model_type
    is_causal_only = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if is_causal_only or getattr(config, "is_decoder", False):
        raise ModelError(
            f"{name} is a decoder ({kind}): its tokens do not see what follows them, so their mean is no embedding of "
            "the text; choose an encoder such as monologg/kobert"
        )


def _has_weights(folder: Path) -> bool:
    return any(path for pattern in (*_SAFETENSORS, *_PICKLES) for path in folder.glob(pattern))


def _fresh_model(config: PretrainedConfig) -> PreTrainedModel:
    _refuse_decoder(config, config.model_type)
    log.warning("weights.randomised", architecture=config.model_type)
    model: PreTrainedModel = AutoModel.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    return model


def _pretrained_model(folder: Path, config: PretrainedConfig, name: str) -> PreTrainedModel:
    try:
        model, report = AutoModel.from_pretrained(folder, config=config, dtype=torch.float32, output_loading_info=True)
    except _LOAD_ERRORS as error:
        raise ModelError(
            f"the weights of {name} cannot be loaded ({type(error).__name__}: {error}); copy or download them again"
        ) from error
    # A pooler is not used here, and language models are saved without one.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ModelError(
            f"the weights of {name} lack {len(missing)} tensors of the model in its config.json, such as {missing[0]}: "
            "the two files are of different models, copy both from the same place"
        )
    loaded: PreTrainedModel = model
    return loaded


def _load_tokenizer(folder: Path, name: str, max_tokens: int) -> PreTrainedTokenizerBase:
    sentencepiece = _kobert_sentencepiece(folder)
    if sentencepiece is not None:
        vocabularies = sorted(path for pattern in _VOCABULARY_FILES for path in folder.glob(pattern))
        vocabulary = read_vocabulary(vocabularies[0]) if vocabularies else None
        return convert_tokenizer(sentencepiece, vocabulary, max_tokens)
    if not any(path for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)):
        raise ModelError(
            f"{name} has no tokenizer files (tokenizer.json, vocab.txt, or KoBERT's spiece.model); copy them from "
            "where the model is"
        )
    # BERT's tokenizer lowers the case by default and takes Hangul apart in doing so: every Korean word is unknown then.
    is_bare = not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json"))
    options = {"do_lower_case": False} if is_bare and (folder / "vocab.txt").is_file() else {}
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, model_max_length=max_tokens, **options
        )
    except _LOAD_ERRORS as error:
        raise ModelError(
            f"the tokenizer of {name} cannot be loaded ({type(error).__name__}: {error}); copy its files again"
        ) from error
    return tokenizer


def _kobert_sentencepiece(folder: Path) -> SentencePieceModel | None:
    for file in _SENTENCEPIECE_FILES:
        if (folder / file).is_file():
            model = read_sentencepiece(folder / file)
            return model if is_of_kobert_kind(model) else None
    return None


def _check_max_tokens(config: PretrainedConfig, name: str, max_tokens: int) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return
    if config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    if max_tokens > positions:
        raise ModelError(f"{name} reads at most {positions} tokens, not {max_tokens}; lower the recipe's max_tokens")


def _check_vocabulary_size(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """A model may have spare rows, as many round their number up; it may not lack any."""
    rows, tokens = config.vocab_size, len(tokenizer)
    if tokens > rows:
        raise ModelError(
            f"{name} has embeddings for {rows} tokens, its tokenizer gives {tokens}: the files are of different "
            "models, copy the tokenizer from where the weights are"
        )
    if tokens < rows:
        log.warning("vocabulary.smaller", model=name, tokens=tokens, embedding_rows=rows)
