"""The script with a terminal and without one, and with the tools of a Mac."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway_site.install_script.machine import ALICE, Machine

TYPIST = """
import os, pty, sys
shell, script, key = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    os.execv("/bin/sh", ["sh", "-c", '"$1" -s <"$2"', "sh", shell, script])
said = b""
try:
    while data := os.read(terminal, 1024):
        said += data
        if key and b"not shown" in said:
            os.write(terminal, key.encode() + b"\\n")
            key = ""
except OSError:
    pass
print(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
ONLY_OF_GNU = re.compile(
    r"sed -[ir]|readlink -f|\brealpath\b|grep -P|date -d|stat -c|sort -V|mktemp --|xargs -r|base64 -w|head -n -|cp -[at]"
    r"|\btac\b|\bgawk\b|\bgensub\b|\becho -[en]|\btimeout \d"
)


def test_without_a_key_and_a_terminal_it_says_how_to_give_one(dash: Machine) -> None:
    assert "--key=" in dash.refuses()
    assert dash.files() == {}


def test_it_asks_for_the_key_on_the_terminal_and_does_not_show_it(machine: Machine, tmp_path: Path) -> None:
    script = tmp_path / "install.sh"
    script.write_bytes(machine.script)
    shell = str(shutil.which(machine.shell))
    done = subprocess.run(
        [sys.executable, "-c", TYPIST, shell, str(script), ALICE],
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.env["ANTHROPIC_AUTH_TOKEN"] == ALICE
    assert "(it is not shown)" in done.stdout


def test_it_asks_no_tool_for_what_that_of_a_mac_cannot_do(dash: Machine) -> None:
    """That it asks nothing of bash, every test in dash shows."""
    assert [line for line in dash.script.decode().splitlines() if ONLY_OF_GNU.search(line)] == []


def test_a_mac_s_own_shell_is_enough(bash: Machine) -> None:
    """There, sh is a bash that keeps to POSIX."""
    folder = bash.home.parent / "posix"
    folder.mkdir()
    (folder / "sh").symlink_to(str(shutil.which("bash")))
    bash.shell = str(folder / "sh")
    bash.installs(f"--key={ALICE}", "--model=smart")
    assert bash.env["ANTHROPIC_MODEL"] == "smart"
    bash.installs("--uninstall")
    assert bash.files() == {}


@pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="there is no /usr/bin/python3 here")
def test_a_mac_without_its_developer_tools_is_asked_nothing_by_python3(bash: Machine) -> None:
    """There, /usr/bin/python3 opens a window that offers them."""
    bash.lacks("python3", "uname")
    (bash.bin / "uname").write_text("#!/bin/sh\necho Darwin\n")
    (bash.bin / "uname").chmod(0o755)
    done = bash.run(f"--key={ALICE}", "--log-level=debug", PATH=f"{bash.bin}:/usr/bin:/bin")
    said = done.stdout + done.stderr
    assert "edited with python" not in said
    assert "python3, node or jq" in said or "edited with" in said
