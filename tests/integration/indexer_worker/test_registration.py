"""Tasks by name, and imports without effect."""

import subprocess
import sys
from pathlib import Path

from tests.integration.indexer_worker.neighbours import environment

ROOT = Path(__file__).parents[3]


def run_python(code: str, folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a fresh interpreter whose home is an empty folder."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment(HOME=str(folder), TMPDIR=str(folder), PYTHONPATH=str(ROOT), **settings),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_tasks_that_are_sent_are_registered(tmp_path: Path) -> None:
    """The names that producers use are names the worker knows."""
    code = (
        "from kosearch.task_queue import ADVANCE_JOB, INDEX_PARTITION, REANALYSE\n"
        "from indexer_worker.celery import app\n"
        "app.loader.import_default_modules()\n"
        "assert {ADVANCE_JOB, INDEX_PARTITION, REANALYSE} <= set(app.tasks), sorted(app.tasks)\n"
    )
    done = run_python(code, tmp_path, KOSEARCH_DATA_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_importing_has_no_effect(tmp_path: Path) -> None:
    """Every module but Celery's application and alembic's script: whatever the settings, and without a trace."""
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("kosearch", "indexer_worker", "encoder_service", "standalone")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__main__.py"
        and path != ROOT / "indexer_worker" / "celery.py"
        and path != ROOT / "kosearch" / "ledger" / "migrations" / "env.py"  # alembic runs it
        and path.parent != ROOT / "encoder_service" / "engines"  # below
    )
    assert "kosearch.ledger" in modules
    code = (
        "import importlib, logging, signal, threading\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert not logging.getLogger().handlers\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
    )
    done = run_python(code, tmp_path, KOSEARCH_NONSENSE="a setting that no process would start with")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_importing_the_cpu_engine_reports_nothing(tmp_path: Path) -> None:
    """Nobody outside learns that the engine was started, and no file is written for it."""
    done = run_python("import encoder_service.engines.cpu, threading; assert threading.active_count() == 1", tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_worker_never_imports_torch(tmp_path: Path) -> None:
    """Nor does the command line: both stay small and start quickly."""
    code = (
        "import sys, indexer_worker.tasks, kosearch.cli\n"
        "assert not {'torch', 'transformers', 'openvino', 'kiwipiepy'} & set(sys.modules)\n"
    )
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
