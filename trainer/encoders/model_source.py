"""Where a model to export comes from: a directory, or the Hugging Face hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError, of whichever httpx it is built on
    EntryNotFoundError,
    GatedRepoError,
    HTTPError,
    RepositoryNotFoundError,
)

from kosearch.architecture import read_architecture
from kosearch.errors import ModelError, NotFoundError

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_DESCRIPTION = ("*.json", "*.txt", "*.model", "README.md", "LICENSE*", "NOTICE*")
# Former versions of sentence-transformers kept the encoder in a folder such as 0_Transformer. The pattern leaves
# copies for other runtimes, such as onnx/, where they are.
_SAFETENSORS = ("model*.safetensors", "0_*/model*.safetensors")
_PICKLES = ("pytorch_model*.bin", "0_*/pytorch_model*.bin")


def find_model(source: str) -> Path:
    """Return the folder of a model: the directory itself, or a snapshot of the hub's, downloaded as far as needed.

    Raises ModelError when the model is of a kind no engine runs (before its weights are downloaded), NotFoundError
    when there is none.
    """
    folder = Path(source)
    if folder.is_dir():
        read_architecture(folder)
        return folder
    if folder.exists() or not _HUB_ID.fullmatch(source):
        raise NotFoundError(f"{source} is neither a directory nor the id of a model on the hub, such as owner/name")
    snapshot = download_files(source, _DESCRIPTION)
    read_architecture(snapshot)
    download_files(source, _SAFETENSORS)
    if not any(path for pattern in _SAFETENSORS for path in snapshot.glob(pattern)):
        download_files(source, _PICKLES)
    return snapshot


def download_files(hub_id: str, patterns: Iterable[str]) -> Path:
    """Return the folder of a snapshot of the hub's model with the files that match.

    Raises NotFoundError when the hub has no such model or does not show it, ModelError when it cannot be downloaded.
    """
    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(patterns)))
    except GatedRepoError as error:
        raise NotFoundError(
            f"{hub_id} is gated: accept its terms on its page on the hub, then set HF_TOKEN to your access token"
        ) from error
    except RepositoryNotFoundError as error:
        raise NotFoundError(
            f"the hub has no model {hub_id}, or it is private; check the spelling, or set HF_TOKEN to an access token "
            "that may read it"
        ) from error
    except (OSError, EntryNotFoundError, HTTPError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise ModelError(
            f"{hub_id} cannot be downloaded{offline}: {_first_line(error)}; check network and free "
            "space, or download it elsewhere and give its directory"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].removesuffix(".")
