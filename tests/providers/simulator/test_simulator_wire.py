import asyncio
import zlib
from itertools import pairwise

import pytest
from simulator_client import CHAT_HEADERS, http_request

TEXT = "The simulator answers with a sentence of twelve words and then stops."
MULTIBYTE = "Zażółć gęślą jaźń — 你好 世界 🙂 naïve café."


def said(reply):
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in reply.chunks())


def packets_of(reply):
    """The packets of the body without the HTTP framing of their own."""
    body = [reply.packets[0].partition(b"\r\n\r\n")[2], *reply.packets[1:]]
    return [packet.partition(b"\r\n")[2].removesuffix(b"0\r\n\r\n").removesuffix(b"\r\n") for packet in body if packet]


@pytest.mark.parametrize("spelling", ["crlf=1", "cr=1", "nospace=1", "comments=1", "crlf=1 nospace=1 comments=1"])
async def test_it_spells_events_in_other_ways_the_standard_allows(chat, openai_client, spelling):
    reply = await chat(f"[[{spelling}]]", stream=True)
    assert said(reply) == TEXT
    messages = [{"role": "user", "content": f"[[{spelling}]]"}]
    async with openai_client.chat.completions.stream(model="x", messages=messages) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.content == TEXT


async def test_the_spellings_are_on_the_wire(chat, message):
    assert b"\n" not in (await chat("[[cr=1]]", stream=True)).body
    assert (await chat("[[crlf=1]]", stream=True)).body.count(b"\r\n\r\n") == 15
    assert b"event:message_stop\ndata:{" in (await message("[[nospace=1]]", stream=True)).body
    assert (await chat("[[comments=1]]", stream=True)).body.count(b": keep-alive\n\n") == 15


async def test_packets_end_inside_utf8_and_inside_crlf(chat):
    reply = await chat("[[split_utf8=1]]", stream=True)
    packets = packets_of(reply)
    assert said(reply) == MULTIBYTE
    for packet, following in pairwise(packets):
        is_inside_crlf = packet.endswith(b"\r") and following.startswith(b"\n")
        is_inside_utf8 = 0x80 <= following[0] <= 0xBF
        assert is_inside_crlf or is_inside_utf8
    assert any(0x80 <= packet[0] <= 0xBF for packet in packets[1:])


async def test_a_whole_answer_can_be_split_inside_utf8(chat):
    reply = await chat("[[split_utf8=1]]")
    assert len(reply.packets) > 10
    assert reply.json()["choices"][0]["message"]["content"] == MULTIBYTE


async def test_an_sdk_reads_a_split_stream(openai_client, anthropic_client):
    messages = [{"role": "user", "content": "[[split_utf8=1]]"}]
    async with openai_client.chat.completions.stream(model="x", messages=messages) as stream:
        assert (await stream.get_final_completion()).choices[0].message.content == MULTIBYTE
    async with anthropic_client.messages.stream(model="x", max_tokens=99, messages=messages) as stream:
        assert await stream.get_final_text() == MULTIBYTE


async def test_it_sends_all_frames_in_one_packet(chat):
    reply = await chat("[[one_packet=1 interval=0.005]]", stream=True)
    assert len(reply.packets) == 2
    assert said(reply) == TEXT


async def test_it_sends_packets_of_a_size_that_knows_no_frames(chat):
    reply = await chat("[[packet=100 chunks=3]]", stream=True)
    assert {len(packet) for packet in packets_of(reply)} >= {100}
    assert max(len(packet) for packet in packets_of(reply)) == 100
    assert said(reply) == "The simulator answers"


async def test_it_sends_a_frame_a_packet(chat):
    reply = await chat("[[interval=0.005 chunks=5]]", stream=True)
    assert [packet.count(b"data: ") for packet in packets_of(reply)] == [2, 1, 1, 1, 3]


async def test_it_compresses_whole_answers_and_streams(chat, openai_client):
    whole = await chat("[[gzip=1]]")
    assert whole.headers["content-encoding"] == "gzip"
    assert TEXT.encode() in zlib.decompress(whole.body, wbits=31)
    messages = [{"role": "user", "content": "[[gzip=1 interval=0.002]]"}]
    async with openai_client.chat.completions.stream(model="x", messages=messages) as stream:
        assert (await stream.get_final_completion()).choices[0].message.content == TEXT


async def test_it_answers_json_to_a_stream_request_and_the_other_way_round(chat):
    reply = await chat("[[json_for_stream=1]]", stream=True)
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["object"] == "chat.completion"
    reply = await chat("[[stream_for_json=1]]")
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert said(reply) == TEXT


@pytest.mark.parametrize("stream", [True, False])
async def test_it_can_leave_the_content_type_out(chat, stream):
    assert "content-type" not in (await chat("[[no_type=1]]", stream=stream)).headers


@pytest.mark.parametrize("stream", [True, False])
async def test_a_body_can_end_where_the_socket_does(chat, stream):
    reply = await chat("[[no_length=1]]", stream=stream)
    assert not reply.headers.keys() & {"content-length", "transfer-encoding"}
    assert reply.is_complete
    assert (said(reply) if stream else reply.json()["choices"][0]["message"]["content"]) == TEXT


async def test_an_http_1_0_client_gets_no_chunks(simulator):
    body = b'{"model":"x","stream":true,"messages":[{"role":"user","content":"hi"}]}'
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    writer.write(http_request("/v1/chat/completions", body, CHAT_HEADERS).replace(b"HTTP/1.1", b"HTTP/1.0"))
    answer = await asyncio.wait_for(reader.read(-1), 2)
    writer.close()
    assert b"transfer-encoding" not in answer
    assert answer.endswith(b"data: [DONE]\n\n")


async def test_it_answers_pipelined_requests_in_order(simulator):
    bodies = [
        b'{"model":"x","messages":[{"role":"user","content":"[[text=%b %b]]"}]}' % (word, pace)
        for word, pace in ((b"one", b"first=0.05"), (b"two", b""), (b"three", b"first=0.01"))
    ]
    requests = [http_request("/v1/chat/completions", body, CHAT_HEADERS) for body in bodies]
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    writer.write(b"".join(requests))
    answer = b""
    while answer.count(b"HTTP/1.1 200 OK") < 3 or b"three" not in answer:
        answer += await asyncio.wait_for(reader.read(1 << 16), 2)
    writer.close()
    assert answer.index(b'"one"') < answer.index(b'"two"') < answer.index(b'"three"')
    assert simulator.counters.connections == 1


async def test_it_reads_requests_in_any_pieces(simulator):
    body = b'{"model":"x","messages":[{"role":"user","content":"hi"}]}'
    request = http_request("/v1/chat/completions?a=b", body, CHAT_HEADERS)
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    for position in range(0, len(request), 7):
        writer.write(request[position : position + 7])
        await asyncio.sleep(0)
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 2)
    writer.close()
    assert answer == b"HTTP/1.1 200 OK\r\n"
    seen = simulator.requests[-1]
    assert (seen.path, seen.query, seen.body) == ("/v1/chat/completions", "a=b", body)


async def test_it_lets_a_client_continue_that_asks_first(simulator):
    body = b'{"model":"x","messages":[{"role":"user","content":"hi"}]}'
    head = http_request("/v1/chat/completions", b"", {**CHAT_HEADERS, "Expect": "100-continue"})
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    writer.write(head.replace(b"Content-Length: 0", b"Content-Length: %d" % len(body)))
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert await asyncio.wait_for(reader.readuntil(b"\r\n"), 2) == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_it_refuses_what_is_not_http(simulator):
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(-1), 2)).startswith(b"HTTP/1.1 400 Bad Request")
    writer.close()


async def test_it_waits_for_a_client_that_reads_slowly(simulator):
    marker = b"[[chunks=1000 interval=0.0001 text=%b]]" % (b"x" * 8000)
    body = b'{"model":"x","stream":true,"messages":[{"role":"user","content":"%b"}]}' % marker
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port, limit=1 << 16)
    writer.write(http_request("/v1/chat/completions", body, {**CHAT_HEADERS, "Connection": "close"}))
    await asyncio.sleep(0.3)
    assert simulator.counters.streams_finished == 0
    length = len(await asyncio.wait_for(reader.read(-1), 10))
    writer.close()
    assert length > 5_000_000
    assert simulator.counters.streams_finished == 1


async def test_connections_are_reused(simulator, openai_client):
    for _ in range(5):
        await openai_client.chat.completions.create(model="x", messages=[{"role": "user", "content": "hi"}])
    assert (simulator.counters.requests, simulator.counters.connections) == (5, 1)
