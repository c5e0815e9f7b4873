"""The state directory: what one installation keeps on disk, in the repository's `.tollgate/` or in
TOLLGATE_STATE_DIR.

lock held by whoever runs the embedded stores environment.json secrets made on the first run, and the URLs
of the embedded stores; for its owner only first_run.json what `seed_demo` created, for the banner postgres/
valkey/ data of the embedded stores run/ log/ their sockets and logs prometheus/ metric files of the running
processes
"""

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gateway_site.env import envstr

REPOSITORY = Path(__file__).resolve().parents[2]


class StateError(Exception):
    """The state directory cannot be used; the message says why and what to do."""


def state_dir() -> Path:
    """Return the absolute path of the state directory, which need not exist yet."""
    return Path(envstr("TOLLGATE_STATE_DIR") or REPOSITORY / ".tollgate").expanduser().resolve()


def make_state_dir(directory: Path) -> None:
    """Create it, closed to others; as root it can be passed through, for stores do not run as root."""
    directory.mkdir(parents=True, exist_ok=True)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StateError(f"{directory} cannot be written to; set TOLLGATE_STATE_DIR to a directory of your own.")
    if os.geteuid() == 0:
        directory.chmod(0o711)
    elif directory.stat().st_uid == os.geteuid():
        directory.chmod(0o700)


@contextmanager
def state_lock(directory: Path) -> Iterator[None]:
    """Be the only one to run the stores of this directory; the kernel lets go of it when we die."""
    make_state_dir(directory)
    with (directory / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StateError(
                f"Tollgate already runs from {directory} (process {holder}); stop it first, "
                "or set TOLLGATE_STATE_DIR to another directory."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


# --- The environment that `manage.py up` makes --------------------------------------------------------------


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


SECRETS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "TOLLGATE_SECRETS_KEY": _fernet_key,
    "TOLLGATE_KEY_PEPPER": lambda: secrets.token_urlsafe(32),
}


def keep_secrets(directory: Path) -> dict[str, str]:
    """Return the secrets that the environment does not give, made on the first run and kept."""
    kept = read_environment(directory)
    missing = [name for name in SECRETS if envstr(name) is None]
    return {name: kept.get(name) or SECRETS[name]() for name in missing}


def read_environment(directory: Path) -> dict[str, str]:
    """Return what `write_environment` kept, or nothing."""
    try:
        values: dict[str, str] = json.loads((directory / "environment.json").read_bytes())
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise StateError(f"{directory} belongs to another user; run as that user, or set TOLLGATE_STATE_DIR.") from None
    except ValueError:
        raise StateError(
            f"{directory / 'environment.json'} is damaged; restore it, for it holds your secrets."
        ) from None
    return values


def write_environment(directory: Path, values: Mapping[str, str]) -> None:
    """Keep them for the next run and for commands run by hand; secrets kept earlier stay."""
    kept = {name: value for name, value in read_environment(directory).items() if name in SECRETS}
    write_private(directory / "environment.json", json.dumps({**kept, **values}, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def adopt_environment() -> None:
    """Give a command run by hand what `manage.py up` gives its children; the real environment goes first."""
    for name, value in read_environment(state_dir()).items():
        if envstr(name) is None and (name != "VALKEY_URL" or envstr("REDIS_URL") is None):
            os.environ[name] = value
