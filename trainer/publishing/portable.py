"""Give a model directory the small JSON files that older versions of sentence-transformers read, too (tried: 3.4).

Version 6 and transformers 5 write names of their own, on which the servers and libraries that people put a model into
(infinity, Text Embeddings Inference, older sentence-transformers) fail or guess. Both read the old form as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_POOLING_MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
# Of version 6, where they differ from the old ones.
_OLD_MODES = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "weightedmean": "weightedmean_tokens"}


def make_portable(folder: Path, max_tokens: int) -> None:
    """Rewrite modules.json and the files it names in the old form, and name the tokenizer's class as all know it."""
    modules = _read(folder / "modules.json")
    for module in modules:
        kind = module["type"].rpartition(".")[2]
        module["type"] = f"sentence_transformers.models.{kind}"
        if kind == "Transformer":
            place = folder / module["path"]
            _write(place / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})
            _rename_tokenizer_class(place / "tokenizer_config.json")
        elif kind == "Pooling":
            _rewrite_pooling(folder / module["path"] / "config.json", folder)
    _write(folder / "modules.json", modules)


def _rewrite_pooling(path: Path, folder: Path) -> None:
    config = _read(path)
    named = config.get("pooling_mode")
    if named is None:
        return
    chosen = {_OLD_MODES.get(mode, mode) for mode in ([named] if isinstance(named, str) else named)}
    modes = {f"pooling_mode_{mode}": mode in chosen for mode in _POOLING_MODES}
    dim = config.get("embedding_dimension") or _read(folder / "config.json")["hidden_size"]
    _write(path, {"word_embedding_dimension": dim, **modes, "include_prompt": config.get("include_prompt", True)})


def _rename_tokenizer_class(path: Path) -> None:
    config = _read(path)
    if config.get("tokenizer_class") == "TokenizersBackend":
        _write(path, config | {"tokenizer_class": "PreTrainedTokenizerFast"})


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
