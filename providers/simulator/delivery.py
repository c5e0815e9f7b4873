"""How an answer travels: frames and bodies become packets with delays, framed as HTTP/1.1."""

import re
import zlib
from collections.abc import Iterable, Sequence
from http import HTTPStatus

from providers.simulator.behaviour import Behaviour
from providers.simulator.envelopes import Envelope
from providers.simulator.frames import Frame, Kind
from providers.simulator.script import Ending, Packet, Script

# A packet of its own needs a moment of its own: what is written in one go arrives in one piece.
BETWEEN_PACKETS_SECONDS = 0.001
INSIDE_UTF8_OR_CRLF = re.compile(rb"(?<=[\xc2-\xf4])(?=[\x80-\xbf])|(?<=\r)(?=\n)")
REASONS = {status.value: status.phrase.encode() for status in HTTPStatus} | {529: b"Overloaded"}
GZIP_WBITS = 31
HEALTHY = Behaviour()
UNFINISHED = {Ending.CUT, Ending.RESET, Ending.STALL}


def whole(
    body: bytes,
    *,
    headers: list[bytes],
    status: int = 200,
    behaviour: Behaviour = HEALTHY,
    seconds: float = 0.0,
) -> Script:
    """One body with its length, `seconds` after the request."""
    if behaviour.malformed is not None or behaviour.truncate is not None:
        body = body[: len(body) // 2]
    if behaviour.gzip:
        body = zlib.compress(body, wbits=GZIP_WBITS)
        headers = [*headers, b"content-encoding: gzip"]
    if not behaviour.no_length:
        headers = [*headers, b"content-length: %d" % len(body)]
    if _ending(behaviour) in UNFINISHED:
        body = body[: len(body) // 2]
    packets = _repack([Packet(0.0, body)], behaviour)
    return _script(head(status, headers), packets, behaviour, seconds=seconds)


def stream(frames: list[Frame], *, headers: list[bytes], behaviour: Behaviour, envelope: Envelope) -> Script:
    """Server-sent events, each in a packet of its own unless nothing separates it from the one before."""
    packets = _repack(_timed(frames, behaviour, envelope), behaviour)
    if behaviour.gzip:
        packets = _gzipped(packets)
        headers = [*headers, b"content-encoding: gzip"]
    if not behaviour.no_length:
        headers = [*headers, b"transfer-encoding: chunked"]
        packets = _chunked(packets, is_complete=_ending(behaviour) not in UNFINISHED)
    return _script(head(200, headers), packets, behaviour, is_stream=True)


def silence(ending: Ending) -> Script:
    """Not a byte: the socket is closed, or stays open for ever."""
    return Script(packets=(), ending=ending)


def head(status: int, headers: Iterable[bytes]) -> bytes:
    return b"HTTP/1.1 %d %b\r\n%b\r\n\r\n" % (status, REASONS.get(status, b"Error"), b"\r\n".join(headers))


def _script(
    head_bytes: bytes,
    packets: list[Packet],
    behaviour: Behaviour,
    *,
    seconds: float = 0.0,
    is_stream: bool = False,
) -> Script:
    delay = behaviour.head + seconds
    if behaviour.drip_headers:
        lines = head_bytes.splitlines(keepends=True)
        opening = [Packet(delay, lines[0]), *(Packet(behaviour.drip_headers, line) for line in lines[1:])]
        packets = [*opening, *packets]
    elif packets and not packets[0].delay:
        packets = [Packet(delay, head_bytes + packets[0].data), *packets[1:]]
    else:
        packets = [Packet(delay, head_bytes), *packets]
    return Script(packets=packets, ending=_ending(behaviour), is_stream=is_stream)


def _ending(behaviour: Behaviour) -> Ending:
    if behaviour.reset is not None:
        return Ending.RESET
    if behaviour.cut is not None:
        return Ending.CUT
    if behaviour.stall is not None:
        return Ending.STALL
    return Ending.FINISH_AND_CLOSE if behaviour.hangup or behaviour.no_length else Ending.FINISH


def _timed(frames: list[Frame], behaviour: Behaviour, envelope: Envelope) -> list[Packet]:
    """The first content after `first`, the next ones `interval` apart, the end after `linger`, all else at once."""
    groups: list[tuple[float, list[bytes]]] = []
    styled: dict[bytes, bytes] = {}
    pause, pings = behaviour.first / (behaviour.pings + 1), behaviour.pings
    for frame in frames:
        delay = 0.0
        if frame.kind is Kind.CONTENT:
            groups += [(pause, [_style(envelope.keep_alive.lines, behaviour, envelope)]) for _ in range(pings)]
            delay, pause, pings = pause, behaviour.interval, 0
        elif frame.kind is Kind.TERMINAL:
            delay = behaviour.linger
        lines = styled.get(frame.lines) or styled.setdefault(frame.lines, _style(frame.lines, behaviour, envelope))
        if delay or not groups:
            groups.append((delay, [lines]))
        else:
            groups[-1][1].append(lines)
    return [Packet(delay, b"".join(lines)) for delay, lines in groups]


def _style(lines: bytes, behaviour: Behaviour, envelope: Envelope) -> bytes:
    """One frame spelled as the behaviour likes; JSON holds no raw line ends, so replacing them is exact."""
    if behaviour.comments:
        lines = b": keep-alive\n\n" + lines
    if behaviour.nospace:
        lines = re.sub(rb"^(data|event): ", rb"\1:", lines, flags=re.MULTILINE)
    if behaviour.cr:
        return lines.replace(b"\n", b"\r")
    if behaviour.crlf or behaviour.split_utf8:
        return lines.replace(b"\n", b"\r\n")
    return lines if envelope.line_end == b"\n" else lines.replace(b"\n", envelope.line_end)


def _repack(packets: list[Packet], behaviour: Behaviour) -> list[Packet]:
    """Packets whose ends have nothing to do with the ends of frames."""
    if behaviour.one_packet:
        longest = sum(packet.delay for packet in packets)
        return [Packet(longest, b"".join(packet.data for packet in packets))]
    if behaviour.split_utf8:
        return _split_inside(packets)
    if behaviour.packet:
        size = behaviour.packet
        return [
            Packet(max(packet.delay, BETWEEN_PACKETS_SECONDS), packet.data[start : start + size])
            for packet in packets
            for start in range(0, len(packet.data), size)
        ]
    return packets


def _split_inside(packets: list[Packet]) -> list[Packet]:
    """Cut inside every UTF-8 sequence and CRLF; what follows the last cut waits for the next packet."""
    cut: list[Packet] = []
    rest = b""
    for delay, data in packets:
        *pieces, rest = INSIDE_UTF8_OR_CRLF.split(rest + data)
        pauses = [max(delay, BETWEEN_PACKETS_SECONDS)] + [BETWEEN_PACKETS_SECONDS] * len(pieces)
        cut += [Packet(pause, piece) for pause, piece in zip(pauses, pieces, strict=False)]
    return [*cut, Packet(BETWEEN_PACKETS_SECONDS, rest)]


def _gzipped(packets: Sequence[Packet]) -> list[Packet]:
    packer = zlib.compressobj(wbits=GZIP_WBITS)
    packed = [Packet(delay, packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)) for delay, data in packets]
    return [*packed, Packet(0.0, packer.flush())]


def _chunked(packets: Sequence[Packet], *, is_complete: bool) -> list[Packet]:
    """One HTTP chunk a packet; equal packets are framed once, which is what makes long streams cheap."""
    framed: dict[Packet, Packet] = {}
    for packet in packets:
        if packet.data and packet not in framed:
            framed[packet] = Packet(packet.delay, b"%x\r\n%b\r\n" % (len(packet.data), packet.data))
    # An empty chunk would end the body.
    chunks = [framed[packet] for packet in packets if packet.data]
    if not is_complete:
        return chunks
    last = chunks.pop() if chunks else Packet(0.0, b"")
    return [*chunks, Packet(last.delay, last.data + b"0\r\n\r\n")]
