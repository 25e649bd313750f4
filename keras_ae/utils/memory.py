"""How much memory there is: what a file may need is compared with it before the file is decoded."""

import pathlib

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available() -> int:
    """Returns the bytes of memory that processes can still use, at most the limit of this process's container."""
    import psutil  # imported late: most programs never ask

    found = [psutil.virtual_memory().available]
    for path in map(pathlib.Path, _LIMITS):
        if path.exists() and (limit := path.read_text().strip()).isdigit():  # otherwise "max"
            found.append(int(limit))
    return min(found)
