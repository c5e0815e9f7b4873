import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest
from simulator_client import CHAT_HEADERS, http_request

MODULE = [sys.executable, "-m", "providers.simulator"]
COMMAND = [
    sys.executable,
    "-c",
    "import sys; from providers.management.commands.simulate import Command;"
    "Command().run_from_argv(['manage.py', 'simulate', *sys.argv[1:]])",
]


@contextmanager
def running(command, *options):
    with subprocess.Popen([*command, "--port", "0", *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


@pytest.mark.parametrize("command", [MODULE, COMMAND], ids=["module", "manage.py"])
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(command, signal_number):
    with running(command, "--key", "sk-right") as (process, line):
        url = line.removeprefix("simulator listening on ").strip()
        assert url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{url}/v1/models", headers={"Authorization": "Bearer sk-right"}).status_code == 200
        assert httpx.get(f"{url}/v1/models", headers={"Authorization": "Bearer sk-wrong"}).status_code == 401
        process.send_signal(signal_number)
        assert process.wait(5) == 0
        assert process.stdout.read() == ""


def test_it_stops_in_the_middle_of_an_answer():
    with running(MODULE) as (process, line):
        url = line.split()[-1]
        body = {"model": "sim-hang", "messages": [{"role": "user", "content": "hi"}]}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/chat/completions", json=body, headers={"Authorization": "Bearer x"}, timeout=0.1)
        process.terminate()
        assert process.wait(5) == 0


def test_packets_and_resets_are_the_same_outside_of_the_test_loop():
    """The command runs on uvloop, which gathers what is written in one turn of the loop.

    The best of several tries counts: a process that is not let run finds several packets at once.
    """
    with running(MODULE) as (_, line):
        address = ("127.0.0.1", int(line.rpartition(":")[2]))
        assert any(len(list(packets(address, "[[split_utf8=1]]"))) > 20 for _ in range(5))
        assert any(len(list(packets(address, "[[interval=0.1 chunks=5]]"))) == 5 for _ in range(5))
        with pytest.raises(ConnectionResetError):
            list(packets(address, "[[reset=2 interval=0.005]]"))


def packets(address, text):
    body = b'{"model":"x","stream":true,"messages":[{"role":"user","content":"%b"}]}' % text.encode()
    with socket.create_connection(address, timeout=5) as client:
        client.sendall(http_request("/chat/completions", body, {**CHAT_HEADERS, "Connection": "close"}))
        while packet := client.recv(1 << 16):
            yield packet


def test_it_starts_without_django_and_quickly():
    code = (
        "import sys, providers.simulator.command_line;"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'django', 'httpx', 'aiohttp'}))"
    )
    bare = min(run("import asyncio, uvloop, httptools, orjson")[0] for _ in range(3))
    runs = [run(code) for _ in range(3)]
    assert {said for _, said in runs} == {"[]"}
    assert min(took for took, _ in runs) < 5 * bare + 1  # under 0.5 s on an idle machine


def run(code):
    """How many seconds it takes a new interpreter, and what it says."""
    started = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, result.stdout.strip()
