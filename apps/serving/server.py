"""The server: a REST and a gRPC front on one event loop, and threads that compute."""

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
import time
from typing import NamedTuple

import uvicorn

from . import rest, rpc
from .failures import Failure
from .metrics import Metrics

KEEP_ALIVE = 75  # seconds; longer than clients usually keep a connection, so that the server is not the one to close it
CONNECTIONS = 1000  # of REST clients; gRPC's share one


class Limits(NamedTuple):
    """What a server takes.

    Attributes:
        threads: int, requests computed at once.
        max_waiting: int, requests that may arrive or wait for a thread; further ones fail at once with UNAVAILABLE.
        max_bytes: int, size of a request.
        max_rows: int, rows in a request.
        seconds: float, time for a request, from its arrival; a gRPC client may set a shorter one.
    """

    threads: int = 2
    max_waiting: int = 100
    max_bytes: int = 2**25
    max_rows: int = 512
    seconds: float = 30.0


class Desk:
    """Hands requests to threads, measures and bounds them; the loop meanwhile takes the next ones.

    Args:
        models: `Models`.
        limits: `Limits`.

    Attributes:
        models, limits: as given.
        metrics: `Metrics`.
    """

    def __init__(self, models, limits):
        self.models, self.limits = models, limits
        self.metrics = Metrics(lambda: {model.name for model in models})
        self._threads = concurrent.futures.ThreadPoolExecutor(limits.threads, "predict")
        self._places = threading.Semaphore(limits.threads + limits.max_waiting)

    @contextlib.asynccontextmanager
    async def measured(self, model, api, entrypoint):
        """Context manager that counts a request and its latency, with the code of a `Failure` that leaves it."""
        start, code = time.perf_counter(), "INTERNAL"
        try:
            yield
            code = "OK"
        except Failure as failure:
            code = failure.code
            raise
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        finally:
            self.metrics.add(model, api, entrypoint, code, time.perf_counter() - start)

    async def run(self, function, seconds, read=None):
        """Returns `function(seconds left)`, computed in a thread.

        Args:
            function: function of a float.
            seconds: float, time for all of it.
            read: coroutine function to await first, whose value becomes the first argument: what is being read takes a
                place too, as it takes memory.

        Raises:
            Failure: if there is no place, or the time is over. A thread that is late ends by itself.
        """
        deadline = time.monotonic() + seconds
        if not self._places.acquire(blocking=False):
            raise Failure("UNAVAILABLE", f"{self.limits.max_waiting} requests are waiting already. Try again later.")
        try:
            given = [] if read is None else [await read()]
        except BaseException:
            self._places.release()
            raise

        def timed():
            try:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _late()
                return function(*given, left)
            finally:
                self._places.release()

        future = asyncio.get_running_loop().run_in_executor(self._threads, timed)
        try:
            done, _ = await asyncio.wait([future], timeout=deadline - time.monotonic())
            if not done:
                raise _late()
        finally:
            future.add_done_callback(_seen)
        return future.result()

    def close(self):
        """Waits for the threads."""
        self._threads.shutdown()


def _late():
    return Failure("DEADLINE_EXCEEDED", "The request's deadline or the server's --timeout passed before its answer.")


def _seen(future):
    """Retrieves the exception of a future that nobody waits for, so that none is logged as forgotten."""
    if not future.cancelled():
        future.exception()


class _Rest(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        yield  # the program handles them, for both fronts


class Server:
    """Serves models until it is told to stop; then it takes no further requests and ends those under way.

    Args:
        models: `Models`.
        limits: `Limits`.
        host: str, address to listen at; "127.0.0.1" is this machine only, "0.0.0.0" is all networks.
        port, grpc_port: int, ports of REST and gRPC; 0 for any free one.

    Attributes:
        address, grpc_address: str, as "127.0.0.1:8501", as bound.
        desk: `Desk`, which has the metrics.

    Raises:
        OSError: if a port is in use.
    """

    def __init__(self, models, limits, host, port, grpc_port):
        self.desk = Desk(models, limits)
        self._host, self._grpc_port = f"[{host}]" if ":" in host else host, grpc_port
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise OSError(f"--port: cannot listen at {host}:{port} ({error.strerror}).") from error
        self.address = f"{self._host}:{self._socket.getsockname()[1]}"

    async def serve(self, started, stop):
        """Serves until `stop`.

        Args:
            started: function that is called once both fronts answer.
            stop: `asyncio.Event`.
        """
        seconds = self.desk.limits.seconds
        config = uvicorn.Config(
            rest.application(self.desk),
            **{"http": "httptools", "ws": "none", "lifespan": "off", "log_config": None, "access_log": False},
            **{"server_header": False, "limit_concurrency": CONNECTIONS, "timeout_keep_alive": KEEP_ALIVE},
            timeout_graceful_shutdown=int(seconds) + 1,
        )
        front, back = _Rest(config), rpc.server(self.desk)
        try:
            try:
                port = back.add_insecure_port(f"{self._host}:{self._grpc_port}")
            except RuntimeError as error:
                raise OSError(f"--grpc_port: cannot listen at {self._host}:{self._grpc_port}.") from error
            self.grpc_address = f"{self._host}:{port}"
            await back.start()
            serving = asyncio.create_task(front.serve([self._socket]))
            while not front.started and not serving.done():
                await asyncio.sleep(0.01)
            started()
            await asyncio.wait([serving, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
            front.should_exit = True
            await asyncio.gather(back.stop(seconds), serving)
        finally:
            self._socket.close()
            self.desk.close()
