"""Another user for a server that must not, or should not, run as root."""

import os
import pwd
from pathlib import Path
from typing import Any

USER = "nobody"


def give_away(folder: Path) -> dict[str, Any]:
    """Return subprocess options that run a program as a user without rights, who now owns `folder`; {} if not root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(USER)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
