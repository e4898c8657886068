"""Independent tasks by processes of this machine, or by the workers of a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tramposim import __version__
from tramposim.errors import InputError

__all__ = ["each"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_CONNECT_S = 20
"""How long a cluster's scheduler may take to answer."""


def each(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    jobs: int | None = None,
    cluster: str | None = None,
) -> Iterator[Result]:
    """`work` of each task, in the order of the tasks; what it returns does not depend on where.

    `jobs` processes share them (None: one per CPU that this process may use); with `cluster`,
    the address of a Dask scheduler (`tcp://HOST:PORT`), its workers do. `work` is a function of
    a module; tasks and results are pickled. Raises `InputError` for a cluster that cannot be
    reached or runs another version.
    """
    if cluster is not None:
        yield from _on_cluster(cluster, work, tasks)
        return
    jobs = min(len(os.sched_getaffinity(0)) if jobs is None else jobs, len(tasks))
    if jobs < 2:
        yield from map(work, tasks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(work, tasks)


def _on_cluster(
    address: str, work: Callable[[Task], Result], tasks: Sequence[Task]
) -> Iterator[Result]:
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            "needs dask.distributed: pip install 'tramposim[cluster]'", "--cluster"
        ) from None
    try:
        client = Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise InputError(f"{address} cannot be reached: {error}", "--cluster") from None
    with client:
        _check_workers(client.run(_version, on_error="return"))
        for future in client.map(work, tasks, pure=False):
            yield future.result()


def _version() -> str:
    """Executed by a worker: the version that it would compute with."""
    return __version__


def _check_workers(versions: dict[str, object]) -> None:
    """Whether every worker has this version; raises `InputError` naming one that has not."""
    if not versions:
        raise InputError("the cluster has no workers", "--cluster")
    for worker, version in versions.items():
        if version != __version__:
            raise InputError(
                f"worker {worker} has tramposim {version}, not {__version__}: install the same",
                "--cluster",
            )
