"""All settings, read once by each process's entry point.

A value comes from, in this order: the environment (`KOSEARCH_<SECTION>__<FIELD>`), the running stack
(`<data_dir>/run/stack.json`, written by `kosearch up`, so that a second shell finds the stack by its data directory
alone), the default. An unknown `KOSEARCH_` variable is an error: a misspelt one would be ignored otherwise.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from kosearch.errors import SettingsError

_PREFIX = "KOSEARCH_"
_SHIPPED_MODEL = Path(__file__).resolve().parent.parent / "models" / "kosearch-mini-ko"
# sun_path of a Unix socket holds 108 bytes on Linux, the closing NUL included.
_SOCKET_PATH_LIMIT = 100


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderSettings(_Section):
    """The encoder service, as its clients and the service itself see it."""

    address: str = Field(
        "127.0.0.1:7410",
        pattern=r"^.+:\d{1,5}$",
        description="host:port where it listens and where clients find it; `kosearch up` takes port 0 for any free one",
    )
    # An empty key, as an unset secret becomes in a compose file, would let everybody in.
    api_key: str | None = Field(
        None, min_length=1, description="key that callers must send; none: only loopback may be bound"
    )
    admin_key: str | None = Field(
        None,
        min_length=1,
        description="key that who changes the served models or the dictionary must send; none: nobody may",
    )
    metrics_address: str = Field(
        "", pattern=r"^(.+:\d{1,5})?$", description="host:port where Prometheus finds /metrics; empty: nowhere"
    )
    model: Path = Field(_SHIPPED_MODEL, description="model directory")
    # Not auto: who has torch for training has not asked the service to load it, or to share the GPU with the training.
    device: Literal["auto", "cpu", "cuda"] = Field(
        "cpu",
        description="where it encodes: cpu; cuda: all GPUs that CUDA_VISIBLE_DEVICES shows, needs kosearch[gpu]; "
        "auto: these where there are any",
    )
    precision: Literal["bf16", "f32", "int8"] = Field(
        "bf16",
        description="number format of the CPU engine: bf16 where the CPU has it, f32 elsewhere; int8: faster "
        "without bf16, refused for a model whose golden embeddings it changes",
    )
    threads: int = Field(0, ge=0, le=256, description="threads of the CPU engine; 0: one per core")
    front_ends: int = Field(
        0,
        ge=0,
        le=64,
        description="processes that take calls and tokenise before the one that encodes: for GPUs, which take more "
        "texts than one process can hand them; 0: that one does it itself",
    )
    max_batch_tokens: int = Field(4096, ge=256, le=1_048_576, description="tokens in one batch of the engine")
    max_queued_tokens: int = Field(
        262_144, ge=1024, le=1 << 28, description="tokens waiting before calls are refused with RESOURCE_EXHAUSTED"
    )
    bulk_batch_s: float = Field(
        0.05,
        gt=0,
        le=0.25,
        description="seconds that a batch of bulk work takes while queries come, about: less, and queries wait less; "
        "more, and bulk work is faster; `kosearch up` takes 0.01 where nothing is set",
    )
    max_texts: int = Field(1024, ge=1, le=65_536, description="texts accepted in one call")
    max_text_bytes: int = Field(1 << 20, ge=1024, le=1 << 26, description="bytes of UTF-8 accepted in one text")
    timeout_s: float = Field(60.0, gt=0, le=3600, description="seconds a client waits for one call")


class QdrantSettings(_Section):
    """The vector database: the store process of `kosearch up`, or a Qdrant server."""

    url: str = Field(
        "",
        description="address of a Qdrant server, e.g. http://127.0.0.1:6333; empty: the store of `kosearch up`",
    )
    grpc_port: int = Field(6334, ge=1, le=65_535, description="its gRPC port")
    api_key: str | None = Field(None, description="its API key")
    timeout_s: int = Field(30, ge=1, le=3600, description="seconds to wait for one call")

    @property
    def host_url(self) -> str:
        """Return the address to connect to; without a stack and without a setting, a Qdrant server on this machine."""
        return self.url or "http://127.0.0.1:6333"


class StoreSettings(_Section):
    """The store process that `kosearch up` starts when no Qdrant is named."""

    port: int = Field(7411, ge=0, le=65_535, description="port on loopback where it listens; 0: any free one")


class BrokerSettings(_Section):
    """The message broker between the service and the workers."""

    url: str = Field("", description="Celery broker URL; empty: the broker of `kosearch up` in the data directory")


class LedgerSettings(_Section):
    """The database that holds jobs, partitions and rejections."""

    url: str = Field("", description="SQLAlchemy URL; empty: SQLite in the data directory")


class WorkerSettings(_Section):
    """The indexing workers."""

    concurrency: int = Field(1, ge=1, le=256, description="partitions indexed at the same time by one worker")
    partition_documents: int = Field(500, ge=1, le=100_000, description="documents in one partition, at most")
    partition_bytes: int = Field(4 << 20, ge=1024, le=1 << 30, description="bytes in one partition, about")
    max_line_bytes: int = Field(8 << 20, ge=1024, le=1 << 30, description="bytes in one line; a longer one is rejected")
    # One sentence; the worker takes at most half of what the model reads.
    chunk_overlap_tokens: int = Field(
        32,
        ge=0,
        le=4096,
        description="tokens of the chunk before that the model reads before a chunk, whole sentences where they fit",
    )
    lease_s: float = Field(
        15.0, ge=2, le=3600, description="seconds after which the work of a worker that died goes to another one"
    )
    max_attempts: int = Field(
        5, ge=1, le=1000, description="workers that may die on one partition before its job fails"
    )
    source_roots: str = Field(
        "",
        description="folders that sources must lie in, absolute, separated by `:` (`;` on Windows); service and "
        "workers refuse what lies or leads outside; empty: any",
    )

    @field_validator("source_roots")
    @classmethod
    def _check_roots(cls, value: str) -> str:
        relative = [root for root in value.split(os.pathsep) if root and not os.path.isabs(root)]
        if relative:
            raise ValueError(f"write absolute folders; relative: {', '.join(relative)}")
        return value

    @property
    def roots(self) -> tuple[Path, ...]:
        """Return the folders that sources must lie in; none: any. `load_settings` adds that of piped documents."""
        return tuple(Path(root) for root in self.source_roots.split(os.pathsep) if root)


class LogSettings(_Section):
    """Logs, written to standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severity that is logged")
    format: Literal["console", "json"] = Field("console", description="for people, or one JSON object a line")


class TracingSettings(_Section):
    """Spans of the encoder service."""

    endpoint: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="OpenTelemetry collector (OTLP over gRPC) that gets the encoder service's spans, such as "
        "http://127.0.0.1:4317; empty: none",
    )


class Settings(BaseSettings):
    """The settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(
        default_factory=lambda: Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "kosearch",
        description="directory of the one-machine stack: collections, broker, ledger, logs",
    )
    encoder: EncoderSettings = EncoderSettings()
    qdrant: QdrantSettings = QdrantSettings()
    store: StoreSettings = StoreSettings()
    broker: BrokerSettings = BrokerSettings()
    ledger: LedgerSettings = LedgerSettings()
    worker: WorkerSettings = WorkerSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the running stack, which `load_settings` passes as arguments."""
        return env_settings, init_settings

    @property
    def broker_url(self) -> str:
        """Return the Celery broker URL."""
        return self.broker.url or f"redis+socket://{_url_path(broker_socket(self.data_dir))}"

    @property
    def spool_dir(self) -> Path:
        """Return the folder for documents that were piped into `kosearch index -`."""
        return self.data_dir / "spool"

    @property
    def ledger_url(self) -> str:
        """Return the SQLAlchemy URL of the job ledger."""
        return self.ledger.url or f"sqlite:///{_url_path(self.data_dir / 'ledger.db')}"


def load_settings(data_dir: Path | None = None, *, joins_stack: bool = True) -> Settings:
    """Read the settings, for the stack in `data_dir` when given. Raises SettingsError naming the bad variable.

    joins_stack: take the addresses of the stack that runs there; its supervisor itself must not
    """
    _refuse_unknown_variables(os.environ)
    try:
        chosen_dir = (data_dir or Settings().data_dir).expanduser().resolve()
        published = _without_replaced(_running_stack(chosen_dir)) if joins_stack else {}
        settings = Settings(**{**published, "data_dir": chosen_dir})
    except ValidationError as error:
        faults = "; ".join(f"{_variable(*map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise SettingsError(f"bad setting: {faults}") from error
    # An explicit argument wins over KOSEARCH_DATA_DIR, and the directory is absolute for every child process.
    settings = settings.model_copy(update={"data_dir": chosen_dir})
    if not settings.worker.roots:
        return settings
    roots = os.pathsep.join((settings.worker.source_roots, str(settings.spool_dir)))
    return settings.model_copy(update={"worker": settings.worker.model_copy(update={"source_roots": roots})})


def stack_file(data_dir: Path) -> Path:
    """Return the path of the file in which a running stack publishes its addresses."""
    return data_dir / "run" / "stack.json"


def broker_socket(data_dir: Path) -> Path:
    """Return the path of the embedded broker's Unix socket: in the data directory, or a short one when that is deep."""
    socket = data_dir / "run" / "broker.sock"
    if len(os.fsencode(socket)) <= _SOCKET_PATH_LIMIT:
        return socket
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"kosearch-{os.getuid()}-{digest}" / "broker.sock"


def describe_settings() -> list[tuple[str, str, str]]:
    """Return (variable, default, description) of every setting."""
    rows = [(_variable("data_dir"), "~/.local/share/kosearch", Settings.model_fields["data_dir"].description or "")]
    for section, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section):
            for name, inner in field.annotation.model_fields.items():
                default = "the shipped model" if inner.default == _SHIPPED_MODEL else str(inner.default)
                rows.append((_variable(section, name), default, inner.description or ""))
    return rows


def _url_path(path: Path) -> str:
    """Return the path for a URL. Only what would end it is quoted: Korean and spaces stay readable in messages."""
    return str(path).translate({ord(character): f"%{ord(character):02X}" for character in "%?#"})


def _variable(*path: str) -> str:
    return _PREFIX + "__".join(path).upper()


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {row[0] for row in describe_settings()}
    unknown = sorted(name for name in environment if name.upper().startswith(_PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; `kosearch settings` lists the known ones")


def _without_replaced(published: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the environment replaces by another server: port and key of one are nothing to the other."""
    addresses = (("encoder", "address"), ("qdrant", "url"))
    replaced = {
        section
        for section, name in addresses
        if os.environ.get(_variable(section, name)) not in (None, published.get(section, {}).get(name))
    }
    return {section: values for section, values in published.items() if section not in replaced}


def _running_stack(data_dir: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(stack_file(data_dir).read_text(encoding="utf-8"))["settings"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{stack_file(data_dir)} cannot be read ({error}); run `kosearch down` to clear it"
        ) from error
