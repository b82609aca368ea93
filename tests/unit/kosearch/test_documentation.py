"""The documents name everything that a user can set or call."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from kosearch.cli import app
from kosearch.settings import describe_settings

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def commands(group: Any, prefix: str = "kosearch") -> list[str]:
    """Return the full names of the commands: `kosearch eval sts`."""
    found = []
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        found += commands(command, full) if hasattr(command, "commands") else [full]
    return found


def all_commands() -> list[str]:
    return commands(typer.main.get_command(app))


def test_the_commands_are_found() -> None:
    """The test below does not pass on an empty list."""
    assert {"kosearch up", "kosearch index", "kosearch search", "kosearch eval sts"} <= set(all_commands())


@pytest.mark.parametrize("command", all_commands())
def test_every_command_is_in_the_readme(command: str) -> None:
    """Who reads the README knows every command; several may share a line: `kosearch up` / `down`."""
    short = command.removeprefix("kosearch ")
    assert re.search(rf"{re.escape(command)}\b|/ `{re.escape(short)}`", README), f"`{command}` is not in README.md"


@pytest.mark.parametrize("variable", [name for name, _, _ in describe_settings()])
def test_every_setting_is_in_the_settings_page(variable: str) -> None:
    """Who reads docs/settings.md knows every variable."""
    assert re.search(rf"\b{variable}\b", SETTINGS), f"{variable} is not in docs/settings.md"


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"KOSEARCH_[A-Z0-9_]+", README + SETTINGS))))
def test_every_variable_in_the_documents_exists(variable: str) -> None:
    """A document does not name a setting that was renamed or removed."""
    known = {name for name, _, _ in describe_settings()}
    assert any(name.startswith(variable.rstrip("_")) for name in known)
