"""Runs a server as an unprivileged user on a folder that this user cannot reach by its path.

Run as a script by root: `drop_root.py UID GID FOLDER PROGRAM ARGUMENT...`. The folder is opened before root's
rights are given up, and the server inherits it: by the name FOLDER every descendant finds it, even below a
folder that only root may enter. That needs no capability besides those of changing the user.
"""

import os
import sys

_DESCRIPTOR = 30
FOLDER = f"/proc/self/fd/{_DESCRIPTOR}"
"""The folder's name for the server."""


def main(uid: int, gid: int, folder: str, program: str, *arguments: str) -> None:
    """Becomes the program; returns never."""
    os.dup2(os.open(folder, os.O_PATH | os.O_DIRECTORY), _DESCRIPTOR)
    # The link to the program may be out of the user's reach, too.
    path = os.path.realpath(program)
    os.chdir("/")
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.execv(path, [path, *arguments])  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
