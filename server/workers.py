"""Several processes as one server: `serve --workers N`.

The first process holds the data folder and the ports, forks the workers, and replaces one that dies; it takes no calls
itself. It has one thread and no event loop, and no connection to the database: what is forked is whole, and a worker is
there as soon as one process would be, without importing anything again and with the same settings, keys and users.

Each worker listens on sockets of its own, and the kernel deals out connections (SO_REUSEPORT). Those for HTTP are made
here and outlive a worker, so that whoever waits in one is served by the worker that follows; grpc core makes its own,
on a port that is kept here. The lock of the folder is the workers'
as well, as flock(2) has it for inherited descriptors: it is free when the last process of the server is gone.
"""

import asyncio
import gc
import os
import selectors
import signal
import socket
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog
import uvloop

from server import logs
from server.application import Listening, announce_listening, say_ignored, serve_from, system_users
from server.certificates import Certificates
from server.external import external_url, withdraw
from server.identity.errors import ConfigurationError
from server.identity.users import SystemUser
from server.listeners import BACKLOG, bind_shared, shown
from server.settings import Loaded, Settings, SettingsError, split_address
from server.store.folder import DataFolder
from server.store.interface import StoreRefused
from server.store.sqlite import prepare_database

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

# What goes over the connection between the first process and a worker, a byte each; besides it, why one cannot start.
_READY: Final = b"\0"
_DRAIN: Final = b"\1"

# A worker that served for so long, in seconds, is replaced at once; one that did not waits, twice as long each time.
_SERVED: Final = 10.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
# So many in a row that do not even come to take calls end the server.
_ATTEMPTS: Final = 5


def run_workers(loaded: Loaded) -> None:
    """Serve by `Workers` processes until SIGTERM or SIGINT has drained them all; a second signal ends them at once.

    Raises:
        SettingsError, StoreRefused, ConfigurationError: they cannot start, or not any more; the message says why.
    """
    logs.set_up(loaded.settings.log)
    say_ignored(loaded)
    with ExitStack() as stack:
        folder = stack.enter_context(DataFolder.open(loaded.settings.data))
        users = system_users(loaded.settings, folder)
        prepare_database(folder)
        pem = loaded.settings.tls.read()
        if pem is not None:
            Certificates(loaded.settings.tls, pem)
        http = bind_shared(loaded.settings.http.address, "HTTP", "--http", loaded.settings.workers)
        for sock in http:
            stack.enter_context(closing(sock)).listen(BACKLOG)
        [grpc] = bind_shared(loaded.settings.grpc.address, "gRPC", "--grpc", 1)
        stack.enter_context(closing(grpc))
        settings = _with_grpc_port(loaded.settings, grpc.getsockname()[1])
        http_address = http[0].getsockname()[:2]
        listening = Listening(external_url(settings, http_address[1]), settings.grpc.address, shown(*http_address))
        stack.callback(withdraw, folder)
        # What is there now is never collected, so that the collector does not write to the pages that all share.
        gc.collect()
        gc.freeze()
        _Supervisor(_Share(folder, settings, users, http), listening).run()


def _with_grpc_port(settings: Settings, port: int) -> Settings:
    address = shown(split_address(settings.grpc.address)[0], port)
    return settings.model_copy(update={"grpc": settings.grpc.model_copy(update={"address": address})})


@dataclass(frozen=True, slots=True)
class _Share:
    """What the workers have of the first process; of the sockets, each has one."""

    folder: DataFolder
    settings: Settings
    users: Mapping[str, SystemUser]
    http: Sequence[socket.socket]


@dataclass(eq=False, slots=True)
class _Worker:
    """A worker as the first process sees it; its end of `control` ends with it."""

    number: int
    pid: int
    control: socket.socket
    started: float
    ready: bool = False
    said: bytes = b""


@dataclass(slots=True)
class _Place:
    """One of the N: who fills it, when the next one is due where nobody does, and how often it went wrong in a row."""

    number: int
    worker: _Worker | None = None
    due: float = 0.0
    failed: int = 0
    never_ready: int = 0


@dataclass(slots=True)
class _Ended:
    """Why the server ends: on a signal, or with what cannot be mended."""

    error: str | None = None


class _Supervisor:
    """Starts the workers, watches them, and ends them together."""

    def __init__(self, share: _Share, listening: Listening) -> None:
        self._share = share
        self._listening = listening
        self._places = [_Place(number) for number in range(1, share.settings.workers + 1)]
        self._selector = selectors.DefaultSelector()
        self._announced = False
        self._ending: _Ended | None = None
        self._log = structlog.get_logger()

    def run(self) -> None:
        """Return when every worker has ended on a signal.

        Raises:
            SettingsError: they do not start, or not any more.
        """
        with self._selector, _signals() as arrived:
            self._selector.register(arrived, selectors.EVENT_READ)
            try:
                while self._ending is None or any(place.worker for place in self._places):
                    self._turn(arrived)
            finally:
                self._kill()
        if self._ending.error is not None:
            raise SettingsError(self._ending.error)
        self._log.info("all workers have stopped")

    def _turn(self, arrived: socket.socket) -> None:
        timeout: float | None = None
        if self._ending is None:
            now = time.monotonic()
            for place in self._places:
                if place.worker is None and place.due <= now:
                    self._start(place)
            waiting = [place.due for place in self._places if place.worker is None]
            timeout = max(0.0, min(waiting) - now) if waiting else None
        for key, _ in self._selector.select(timeout):
            if key.fileobj is arrived:
                for number in arrived.recv(64):
                    self._signalled(number)
            else:
                self._hear(key.data)

    def _signalled(self, number: int) -> None:
        if self._ending is None:
            self._end(_Ended())
        else:
            self._kill()
            # What was acknowledged is on disk; everything else may go.
            os._exit(128 + number)

    def _end(self, ending: _Ended) -> None:
        """Have the workers finish their calls."""
        self._ending = ending
        # Connections would go on coming to a socket that is open here, and wait for nobody.
        for sock in self._share.http:
            sock.close()
        for place in self._places:
            if place.worker is not None:
                with _gone_already():
                    place.worker.control.send(_DRAIN)

    def _start(self, place: _Place) -> None:
        ours, theirs = socket.socketpair()
        # A signal between the fork and the worker's own handlers waits for them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
        except OSError as error:
            # Too many processes, or too little memory, for now.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            ours.close()
            theirs.close()
            place.due = time.monotonic() + _LONGEST_PAUSE
            self._log.error("no worker can be started", worker=place.number, reason=error.strerror)
            return
        if pid == 0:
            ours.close()
            self._selector.close()
            for number, sock in enumerate(self._share.http, start=1):
                if number != place.number:
                    sock.close()
            for other in self._places:
                if other.worker is not None:
                    # Else these connections would outlive the first process, and the workers would not notice.
                    other.worker.control.close()
            _work(self._share, place.number, theirs)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        place.worker = _Worker(place.number, pid, ours, time.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, place)

    def _hear(self, place: _Place) -> None:
        worker = place.worker
        assert worker is not None  # noqa: S101 - nobody is unregistered later than it ends
        try:
            said = worker.control.recv(65536)
        except ConnectionResetError:
            said = b""
        if not said:
            self._ended(place, worker)
        elif said == _READY and not worker.said:
            worker.ready = True
            place.never_ready = 0
            if not self._announced and all(each.worker and each.worker.ready for each in self._places):
                self._announced = True
                announce_listening(self._share.folder, self._share.users, self._listening)
        else:
            worker.said += said

    def _ended(self, place: _Place, worker: _Worker) -> None:
        self._selector.unregister(worker.control)
        worker.control.close()
        place.worker = None
        status = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
        if self._ending is not None:
            if status:
                self._log.error("a worker did not stop as it should", worker=worker.number, status=_shown(status))
            return
        reason = worker.said.decode(errors="replace") or f"it ended with {_shown(status)}"
        if not worker.ready:
            place.never_ready += 1
        if not self._announced or place.never_ready >= _ATTEMPTS:
            self._log.critical("a worker does not start", worker=worker.number, pid=worker.pid, reason=reason)
            self._end(_Ended(reason if worker.said else f"a worker does not start: {reason}; the log may say more"))
            return
        now = time.monotonic()
        place.failed = 1 if now - worker.started >= _SERVED else place.failed + 1
        # The first one is replaced at once: whatever it was, nobody should wait for it.
        pause = 0.0 if place.failed == 1 else min(_FIRST_PAUSE * 2 ** (place.failed - 2), _LONGEST_PAUSE)
        place.due = now + pause
        self._log.error(
            "a worker ended and is replaced", worker=worker.number, pid=worker.pid, reason=reason, pause_s=pause
        )

    def _kill(self) -> None:
        """End the workers that there are, at once."""
        for place in self._places:
            worker, place.worker = place.worker, None
            if worker is not None:
                os.kill(worker.pid, signal.SIGKILL)
                os.waitpid(worker.pid, 0)
                worker.control.close()


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Give a socket from which the numbers of the signals that arrive can be read, a byte each."""
    arrived, wake = socket.socketpair()
    with arrived, wake:
        wake.setblocking(False)  # noqa: FBT003 - the library takes it by position
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, _written_by_python) for number in _SIGNALS}
        try:
            yield arrived
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(-1)


def _written_by_python(_number: int, _frame: object) -> None:
    """Do nothing: a signal that has a handler is written to the wake-up descriptor."""


@contextmanager
def _gone_already() -> Iterator[None]:
    """Let a worker be gone that was to be told something."""
    try:
        yield
    except (BrokenPipeError, ConnectionResetError):
        return


def _shown(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"


def _work(share: _Share, number: int, control: socket.socket) -> NoReturn:
    """Be a worker, in the process that was just forked, until its end.

    A signal of the terminal, which reaches all processes of the server, is left to the first one. SIGTERM drains, as
    the first process does when it gets one; whoever sends it to all of them has it drained once.
    """
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_share(share, number, control))
        status = 0
    except (SettingsError, ConfigurationError, StoreRefused) as error:
        with _gone_already():
            control.sendall(str(error).encode())
    except BaseException:  # noqa: BLE001 - the process ends here, and nothing of the first one's may run in it
        traceback.print_exc()
    finally:
        os._exit(status)


async def _serve_share(share: _Share, number: int, control: socket.socket) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()

    def told() -> None:
        if not control.recv(64):
            # The first process is gone, and with it whoever would answer for this one.
            os._exit(1)
        stopping.set()

    control.setblocking(False)  # noqa: FBT003 - the library takes it by position
    loop.add_reader(control, told)
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    await serve_from(
        share.folder,
        share.settings,
        share.users,
        stopping=stopping,
        announce=lambda _: control.sendall(_READY),
        worker_listener=share.http[number - 1],
    )
    loop.remove_reader(control)
