"""The workers' connection to Valkey, against real servers and against some that misbehave."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import redis
import uvloop

from gateway_site.infra import valkey
from gateway_site.infra.valkey import Address, HotValkey, Script, ScriptFailed, StoreUnavailable, subscribe
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually, own_valkey, stand_in


@asynccontextmanager
async def opened(url: str, *, scripts: tuple[Script, ...] = (), deadline: float = 1.0) -> AsyncIterator[HotValkey]:
    connection = HotValkey(url, scripts=scripts, deadline=deadline)
    await connection.open()
    try:
        yield connection
    finally:
        await connection.aclose()


@asynccontextmanager
async def counted() -> AsyncIterator[tuple[HotValkey, list[bytes]]]:
    """Connect to one that answers each ECHO, and keeps the packets that come."""
    async with (
        stand_in(lambda data: b"+OK\r\n" * data.count(b"ECHO")) as (url, packets, _),
        opened(url) as connection,
    ):
        yield connection, packets


@pytest.fixture
def add(tmp_path: Path) -> Script:
    path = tmp_path / "add.lua"
    path.write_text("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    return Script(path)


async def seconds_until_refused(connection: HotValkey) -> float:
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await connection.call("PING")
    return time.monotonic() - began


# --- Commands and replies ------------------------------------------------------------------------------------


async def test_commands_of_one_turn_leave_in_one_packet():
    async with counted() as (connection, packets):
        await asyncio.gather(*(connection.call("ECHO", number) for number in range(200)))
        assert len(packets) == 1
        await asyncio.gather(*(connection.call("ECHO", number) for number in range(200)))
        assert len(packets) == 2


async def test_a_command_that_has_more_behind_it_leaves_with_the_next():
    async with counted() as (connection, packets):
        first = connection.call("ECHO", 1, has_more=True)
        assert not connection.is_flushed
        second = connection.call("ECHO", 2)
        assert connection.is_flushed
        await asyncio.gather(first, second)
        assert len(packets) == 1


async def test_it_waits_for_no_next_one_beyond_its_turn():
    async with counted() as (connection, packets):
        alone = connection.call("ECHO", 1, has_more=True)
        await asyncio.sleep(0)
        assert connection.is_flushed
        await alone
        assert len(packets) == 1


async def test_behind_others_it_leaves_with_them():
    async with counted() as (connection, packets):
        calls = [connection.call("ECHO", 0), connection.call("ECHO", 1, has_more=True), connection.call("ECHO", 2)]
        await asyncio.gather(*calls)
        assert [packet.count(b"ECHO") for packet in packets] in ([1, 2], [3])  # they may be read at once


async def test_replies_come_to_those_who_asked(valkey_url):
    async with opened(valkey_url) as connection:
        calls = [connection.call("ECHO", f"{number}" * (number % 50 + 1)) for number in range(2_000)]
        assert await asyncio.gather(*calls) == [f"{number}".encode() * (number % 50 + 1) for number in range(2_000)]


async def test_commands_are_carried_out_in_their_order(valkey_url):
    async with opened(valkey_url) as connection:
        assert await asyncio.gather(*(connection.call("INCR", "n") for _ in range(500))) == list(range(1, 501))


async def test_large_and_binary_values_come_back_as_they_were(valkey_url):
    value = bytes(range(256)) * 8_192  # 2 MiB: many packets each way
    async with opened(valkey_url) as connection:
        await connection.call("SET", "blob", value)
        assert await connection.call("GET", "blob") == value


async def test_a_reply_may_come_byte_by_byte():
    async with stand_in(lambda data: b"") as (url, _, connections), opened(url) as connection:
        replies = asyncio.gather(connection.call("GET", "a"), connection.call("GET", "b"))
        await eventually(lambda: connections[0].packets)
        for byte in b"$3\r\none\r\n*2\r\n:1\r\n$-1\r\n":
            connections[0].transport.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await replies == [b"one", [1, None]]


async def test_a_caller_that_is_cancelled_does_not_shift_replies(valkey_url):
    async with opened(valkey_url) as connection:
        first, second, third = (connection.call("ECHO", word) for word in ("one", "two", "three"))
        second.cancel()
        assert await first == b"one"
        assert await third == b"three"
        assert await connection.call("ECHO", "four") == b"four"


async def test_callers_cancelled_in_flight_do_not_shift_replies(own_server):
    async with opened(own_server.url) as connection:
        own_server.freeze()
        waiting = [asyncio.ensure_future(connection.call("ECHO", number)) for number in range(100)]
        await asyncio.sleep(0.05)
        for future in waiting[::2]:
            future.cancel()
        own_server.thaw()
        assert await asyncio.gather(*waiting[1::2]) == [b"%d" % number for number in range(1, 100, 2)]
        assert await connection.call("ECHO", "after") == b"after"


async def test_a_refused_command_fails_alone(valkey_url):
    async with opened(valkey_url) as connection:
        refused, fine = connection.call("NOT-A-COMMAND"), connection.call("ECHO", "fine")
        with pytest.raises(ScriptFailed, match="unknown command"):
            await refused
        assert await fine == b"fine"


# --- Scripts -------------------------------------------------------------------------------------------------


async def test_scripts_are_there_from_the_start(valkey_url, add):
    async with opened(valkey_url, scripts=(add,)) as connection:
        assert await connection.call("SCRIPT", "EXISTS", add.digest) == [1]
        assert await connection.run(add, ("sum",), 5) == 5


async def test_scripts_are_loaded_again_after_script_flush(valkey_url, add):
    async with opened(valkey_url, scripts=(add,)) as connection:
        assert await connection.run(add, ("sum",), 5) == 5
        await connection.call("SCRIPT", "FLUSH")
        sums = await asyncio.gather(*(connection.run(add, ("sum",), 1) for _ in range(10)))
        assert sorted(sums) == list(range(6, 16))


async def test_a_failing_script_says_why(valkey_url, add):
    async with opened(valkey_url) as connection:
        with pytest.raises(ScriptFailed, match="not an integer"):
            await connection.run(add, ("sum",), "many")


# --- Deadlines -----------------------------------------------------------------------------------------------


async def test_a_server_that_never_answers_is_given_up_after_the_deadline():
    async with stand_in(lambda data: b"") as (url, _, _), opened(url, deadline=1.0) as connection:
        assert 0.95 < await seconds_until_refused(connection) < 1.9


def test_a_loop_that_stood_still_does_not_take_its_server_for_dead(valkey_url):
    async def ask_and_stand_still() -> bytes:
        async with opened(valkey_url, deadline=0.2) as connection:
            answer = connection.call("ECHO", "here")
            await asyncio.sleep(0.01)
            time.sleep(0.5)  # the answer waits in the socket meanwhile
            return await answer

    assert uvloop.run(ask_and_stand_still()) == b"here"


async def test_work_done_meanwhile_does_not_mix_up_the_replies(valkey_url, add):
    async with opened(valkey_url, scripts=(add,)) as connection:
        keys = [f"meanwhile-{number}" for number in range(50)]
        slow = [connection.run(add, (key,), number, meanwhile=lambda: None) for number, key in enumerate(keys)]
        assert await asyncio.gather(*slow) == list(range(50))
        await connection.call("DEL", *keys)


async def test_a_reply_that_has_not_come_meanwhile_is_waited_for(own_server, add):
    async with opened(own_server.url, scripts=(add,)) as connection:
        own_server.freeze()
        asyncio.get_running_loop().call_later(0.1, own_server.thaw)
        assert await connection.run(add, (b"late",), 1, meanwhile=lambda: None) == 1


async def test_a_server_that_is_lost_meanwhile_is_noticed(own_server, add):
    async with opened(own_server.url, scripts=(add,)) as connection:
        own_server.freeze()
        with pytest.raises(StoreUnavailable):
            await connection.run(add, (b"lost",), 1, meanwhile=own_server.kill)
    own_server.start()


async def test_a_server_that_freezes_after_an_answer_is_given_up_as_fast(own_server):
    async with opened(own_server.url, deadline=1.0) as connection:
        await connection.call("PING")
        own_server.freeze()
        waited = await seconds_until_refused(connection)
        own_server.thaw()
        assert waited < 1.9


async def test_all_who_wait_hear_of_it_together(own_server):
    async with opened(own_server.url, deadline=0.2) as connection:
        own_server.freeze()
        outcomes = await asyncio.gather(*(connection.call("PING") for _ in range(50)), return_exceptions=True)
        own_server.thaw()
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}


async def test_a_slow_answer_within_the_deadline_is_waited_for(own_server):
    async with opened(own_server.url, deadline=1.0) as connection:
        own_server.freeze()
        answer = asyncio.ensure_future(connection.call("ECHO", "late"))
        await asyncio.sleep(0.3)
        own_server.thaw()
        assert await answer == b"late"


async def test_an_idle_connection_is_not_given_up(own_server):
    async with opened(own_server.url, deadline=0.5) as connection:
        await connection.call("SET", "kept", "yes")
        clients = await connection.call("CLIENT", "ID")
        await asyncio.sleep(1.2)
        assert await connection.call("CLIENT", "ID") == clients


async def test_opening_waits_no_longer_than_the_deadline(own_server, add):
    own_server.freeze()
    began = time.monotonic()
    async with opened(own_server.url, scripts=(add,), deadline=0.2) as connection:
        assert time.monotonic() - began < 0.9
        assert not connection.is_connected
        own_server.thaw()
        await eventually(lambda: connection.is_connected)
        assert await connection.run(add, ("opened",), 1) == 1


# --- Losing it and finding it again --------------------------------------------------------------------------


async def test_it_connects_again_after_the_server_was_killed(own_server, add):
    async with opened(own_server.url, scripts=(add,)) as connection:
        await connection.call("PING")
        own_server.freeze()
        waiting = connection.call("PING")
        await asyncio.sleep(0.02)
        own_server.kill()
        with pytest.raises(StoreUnavailable, match="lost"):
            await waiting
        assert not connection.is_connected
        with pytest.raises(StoreUnavailable, match="not connected"):
            connection.call("PING")
        own_server.start()
        await eventually(lambda: connection.is_connected)
        assert await connection.run(add, ("again",), 1) == 1


async def test_it_connects_to_a_server_that_comes_later(tmp_path, add):
    server = OwnValkey(tmp_path / "late")
    async with opened(server.url, scripts=(add,)) as connection:
        assert not connection.is_connected
        with pytest.raises(StoreUnavailable):
            await connection.run(add, ("late",), 1)
        try:
            server.start()
            await eventually(lambda: connection.is_connected)
            assert await connection.run(add, ("late",), 1) == 1
        finally:
            server.close()


async def test_the_loop_goes_on_while_it_connects_and_loses_connections(own_server):
    async with opened(own_server.url, deadline=0.5) as connection:
        for _ in range(3):
            own_server.freeze()
            assert await seconds_until_refused(connection) < 1.0
            own_server.thaw()
            await eventually(lambda: connection.is_connected)
            assert await connection.call("ECHO", "back") == b"back"


async def test_a_server_that_is_still_loading_costs_no_connections(add):
    loading = iter([b"-LOADING Valkey is loading the dataset in memory\r\n"] * 2)
    async with (
        stand_in(lambda data: next(loading, b"+OK\r\n")) as (url, _, connections),
        opened(url, scripts=(add,)) as connection,
    ):
        await eventually(lambda: connection.is_connected)
        assert len(connections) == 3
        await eventually(lambda: [each.is_closed for each in connections] == [True, True, False])
        assert await connection.call("PING") == b"OK"


async def test_what_waits_at_the_end_is_refused_and_nothing_connects_any_more(own_server):
    async with opened(own_server.url) as connection:
        own_server.freeze()
        waiting = connection.call("PING")
    with pytest.raises(StoreUnavailable):
        await waiting
    own_server.thaw()
    assert not connection.is_connected
    with pytest.raises(StoreUnavailable):
        connection.call("PING")


# --- Addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://example.org", Address(host="example.org")),
        ("redis://example.org:7000/3", Address(host="example.org", port=7000, database=3)),
        ("rediss://u%40x:p%2Fw@h/0", Address(host="h", username="u@x", password="p/w", is_tls=True)),
        ("unix:///run/a%20b.sock?db=2", Address(path="/run/a b.sock", database=2)),
        ("unix://:secret@/run/v.sock", Address(path="/run/v.sock", password="secret")),
    ],
)
def test_it_reads_addresses(url, address):
    assert Address.parse(url) == address


def test_it_refuses_addresses_of_other_things():
    with pytest.raises(ValueError, match="VALKEY_URL must start with"):
        Address.parse("postgresql://localhost/0")


async def test_it_logs_in_over_tcp_and_uses_its_database(tmp_path, unused_tcp_port):
    with own_valkey(tmp_path / "tcp") as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("port", unused_tcp_port)
            client.config_set("requirepass", "open sesame")
        url = f"redis://:open%20sesame@127.0.0.1:{unused_tcp_port}/3"
        async with opened(url) as connection:
            await connection.call("SET", "where", "here")
        with valkey.connect(url) as client:
            assert client.get("where") == b"here"
            client.select(0)
            assert client.get("where") is None
        async with opened(url.replace("sesame", "barley")) as connection:
            assert not connection.is_connected


def test_commands_hear_of_a_server_that_is_away(tmp_path):
    with pytest.raises(StoreUnavailable), valkey.connect(OwnValkey(tmp_path).url) as client:
        client.ping()


# --- Subscriptions -------------------------------------------------------------------------------------------


async def test_a_subscription_says_when_it_stands_and_then_what_it_hears(valkey_url):
    async with opened(valkey_url) as connection, aclosing(subscribe(valkey_url, "one", "two")) as messages:
        assert await anext(messages) is None
        for channel, text in (("two", "a"), ("three", "b"), ("one", "ä")):
            await connection.call("PUBLISH", channel, text)
        assert await anext(messages) == ("two", "a")
        assert await anext(messages) == ("one", "ä")


async def test_a_subscription_hears_hundreds_at_once(valkey_url):
    async with opened(valkey_url) as connection, aclosing(subscribe(valkey_url, "many")) as messages:
        await anext(messages)
        await asyncio.gather(*(connection.call("PUBLISH", "many", number) for number in range(500)))
        assert [await anext(messages) for _ in range(500)] == [("many", str(number)) for number in range(500)]


async def test_a_subscription_notices_that_the_server_was_killed(own_server):
    async with aclosing(subscribe(own_server.url, "news")) as messages:
        await anext(messages)
        own_server.kill()
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await anext(messages)
        assert time.monotonic() - began < 1
    own_server.start()


async def test_a_subscription_notices_a_server_that_says_nothing_any_more(own_server):
    async with aclosing(subscribe(own_server.url, "news", ping_seconds=0.1)) as messages:
        await anext(messages)
        own_server.freeze()
        with pytest.raises(StoreUnavailable, match="does not answer a ping"):
            await anext(messages)
        own_server.thaw()


async def test_a_quiet_subscription_stays(valkey_url):
    async with aclosing(subscribe(valkey_url, "news", ping_seconds=0.5)) as messages:
        await anext(messages)
        message = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(1.7)  # several pings
        async with opened(valkey_url) as connection:
            await connection.call("PUBLISH", "news", "at last")
        assert await message == ("news", "at last")


async def test_a_subscription_to_nobody_is_refused(tmp_path):
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        async for _ in subscribe(OwnValkey(tmp_path).url, "news"):
            pass


async def test_a_subscription_that_is_left_closes_its_connection(valkey_url):
    async with opened(valkey_url) as connection:
        async with aclosing(subscribe(valkey_url, "news")) as messages:
            await anext(messages)
            assert await connection.call("PUBSUB", "NUMSUB", "news") == [b"news", 1]
        deadline = time.monotonic() + 2
        while await connection.call("PUBSUB", "NUMSUB", "news") != [b"news", 0]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
