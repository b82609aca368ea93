"""The model directory: the contract between the trainer, which writes it, and the service, which runs it.

A sentence-transformers directory (config.json, model.safetensors, tokenizer.json, 1_Pooling, 2_Normalize, ...) with

    kosearch.json            name, dim, max_tokens, fingerprint
    golden/texts.json        texts that were encoded by the trainer in float32
    golden/embeddings.npy    their embeddings, float32, shape (len(texts), dim)
    golden/token_ids.json    their token ids from the model's own tokenizer; directories of earlier versions lack it

Whoever loads the model encodes the golden texts first and refuses to serve when the embeddings differ.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kosearch.errors import ModelError

_MANIFEST = "kosearch.json"
_FORMAT = 1
_EXPORTED = ("golden", _MANIFEST)
# Prompts that go before texts of a role, by the names that models give them.
_PROMPT_NAMES = {"query", "document", "passage"}
# What decides an embedding, beside its prompts; the model card or a licence text may change without making stored
# vectors stale.
_FINGERPRINTED = (
    "config.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "1_Pooling/config.json",
)


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """An opened model directory.

    name: of the model, e.g. "kosearch-mini-ko"
    dim: numbers in an embedding
    max_tokens: tokens of a text that are read, special tokens included
    fingerprint: SHA-256 in hex of what decides an embedding
    """

    path: Path
    name: str
    dim: int
    max_tokens: int
    fingerprint: str

    @classmethod
    def open(cls, path: Path) -> "ModelDirectory":
        """Read and check the manifest. Raises ModelError when the directory is absent, incomplete or altered."""
        manifest = _read_json(path / _MANIFEST, f"{path} is not a model directory; export it with `trainer export`")
        if not isinstance(manifest, dict):
            raise ModelError(f"{path / _MANIFEST} is no JSON object; export the model again")
        if manifest.get("format") != _FORMAT:
            raise ModelError(
                f"{path / _MANIFEST} has format {manifest.get('format')!r}, this version reads {_FORMAT}; export again"
            )
        try:
            name, dim, max_tokens = str(manifest["name"]), int(manifest["dim"]), int(manifest["max_tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path / _MANIFEST} lacks {error}; export the model again") from error
        fingerprint = fingerprint_of(path, max_tokens)
        if fingerprint != manifest.get("fingerprint"):
            raise ModelError(
                f"the files in {path} do not match the fingerprint in {_MANIFEST}: the copy is damaged or was "
                "changed by hand; copy or export the model again"
            )
        return cls(path, name, dim, max_tokens, fingerprint)

    def golden(self) -> tuple[list[str], NDArray[np.float32]]:
        """Return the golden texts and their embeddings, shape (len(texts), dim)."""
        texts = _read_json(self.path / "golden/texts.json", f"{self.path} has no golden texts; export it again")
        try:
            embeddings = np.load(self.path / "golden/embeddings.npy")
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.path / 'golden/embeddings.npy'} cannot be read ({error}); export again") from error
        if embeddings.shape != (len(texts), self.dim):
            raise ModelError(f"{self.path}: golden embeddings have shape {embeddings.shape}; export again")
        return list(texts), embeddings.astype(np.float32)

    def golden_token_ids(self) -> list[list[int]] | None:
        """Return the golden texts' token ids by the model's own tokenizer; None when the directory holds none."""
        path = self.path / "golden/token_ids.json"
        if not path.exists():
            return None
        return [list(map(int, ids)) for ids in _read_json(path, "export the model again")]

    def config(self) -> dict[str, Any]:
        """Return the model's own config.json."""
        return dict(_read_json(self.path / "config.json", f"{self.path} has no config.json"))

    def prompt(self, role: str) -> str:
        """Return what the model wants before texts of a role, `query` or `document`; empty for most models."""
        prompts = _prompts(self.path)
        return prompts.get(role) or (prompts.get("passage", "") if role == "document" else "")

    def cautions(self) -> list[str]:
        """Return what the model's author asks for and the service does not do, as sentences for the user."""
        found = []
        if others := sorted(set(_prompts(self.path)) - _PROMPT_NAMES):
            found.append(f"the model has prompts of other kinds ({', '.join(others)}); put them before your texts")
        options = _sentence_transformers_options(self.path)
        if options.get("similarity_fn_name") not in (None, "cosine"):
            found.append(f"the model is made for {options['similarity_fn_name']} similarity; the service uses cosine")
        return found


def seal_model_directory(
    path: Path,
    name: str,
    max_tokens: int,
    golden_texts: Sequence[str],
    golden_embeddings: NDArray[np.float32],
    golden_token_ids: Sequence[Sequence[int]] | None = None,
) -> ModelDirectory:
    """Write manifest and golden embeddings, shape (len(golden_texts), dim), beside the finished model files.

    What an earlier export left there is removed.
    """
    if golden_embeddings.ndim != 2 or len(golden_embeddings) != len(golden_texts):
        raise ModelError(f"{len(golden_texts)} golden texts, but embeddings of shape {golden_embeddings.shape}")
    remove_export(path)
    golden = path / "golden"
    golden.mkdir()
    _write_json(golden / "texts.json", list(golden_texts))
    np.save(golden / "embeddings.npy", golden_embeddings.astype(np.float32))
    if golden_token_ids is not None:
        _write_json(golden / "token_ids.json", [list(map(int, ids)) for ids in golden_token_ids], indent=None)
    manifest = {
        "format": _FORMAT,
        "name": name,
        "dim": int(golden_embeddings.shape[1]),
        "max_tokens": max_tokens,
        "fingerprint": fingerprint_of(path, max_tokens),
    }
    _write_json(path / _MANIFEST, manifest)
    return ModelDirectory.open(path)


def remove_export(path: Path) -> None:
    """Take away all that an export adds to a sentence-transformers directory."""
    for name in _EXPORTED:
        if (path / name).is_dir():
            shutil.rmtree(path / name)
        else:
            (path / name).unlink(missing_ok=True)


def fingerprint_of(path: Path, max_tokens: int) -> str:
    """Return the SHA-256 in hex of what decides an embedding: the files, and how many tokens of a text are read.

    Raises ModelError when a file is missing.
    """
    digest = hashlib.sha256(f"max_tokens:{max_tokens}\n".encode())
    for name in _FINGERPRINTED:
        try:
            content = (path / name).read_bytes()
        except FileNotFoundError:
            if name == "sentence_bert_config.json":  # sentence-transformers writes it for some models only
                continue
            raise ModelError(
                f"{path} has no {name}; it is not a sentence-transformers model, or the copy is incomplete"
            ) from None
        digest.update(f"{name}:{len(content)}\n".encode())
        digest.update(content)
    for name, text in sorted(_prompts(path).items()):
        if name in _PROMPT_NAMES:
            digest.update(f"prompt {name}:{text}\n".encode())
    return digest.hexdigest()


def _sentence_transformers_options(path: Path) -> dict[str, Any]:
    options = path / "config_sentence_transformers.json"
    return dict(_read_json(options, "copy the model again")) if options.exists() else {}


def _prompts(path: Path) -> dict[str, str]:
    """What the model wants before texts, by kind of text."""
    prompts = _sentence_transformers_options(path).get("prompts") or {}
    return {str(name): str(text) for name, text in prompts.items() if text}


def _read_json(path: Path, advice: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist: {advice}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error})") from error


def _write_json(path: Path, value: object, indent: int | None = 1) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")
