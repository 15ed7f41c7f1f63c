"""Writes the seed corpora under fuzz/corpus from the captures in tests/vectors.

Usage: python3 fuzz/make_seeds.py [VECTORS]. Deterministic; removes nothing. Input layouts: fuzz/entry.rs.
"""

import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).parent
VECTORS = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "tests" / "vectors"
HANDSHAKE_BYTES = 1 + 1536 + 1536
CHUNK_PREFIX_BYTES = 4096  # reaches past connect, publish and the sequence headers
SESSION_PREFIX_BYTES = 4096
TAG_BYTES = 600
CONFIG_SELECTOR = {b"avc": 0, b"hvc1": 1, b"av01": 2, b"vp09": 3, b"aac": 4, b"Opus": 5, b"fLaC": 6}


def write(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def tags(stem):
    """(type, body) of the listed media messages; bodies are whole where the capture has them in one chunk."""
    stream = (VECTORS / f"{stem}.c2s.bin").read_bytes()
    for line in (VECTORS / f"{stem}.c2s.expected.jsonl").read_text().splitlines():
        kind, info, *_ = json.loads(line)
        if kind != "MEDIA":
            continue
        head = bytes.fromhex(info["head"])
        at = stream.find(head)
        body = stream[at : at + info["len"]] if at >= 0 and "gst" not in stem and "extts" not in stem else head
        yield info["t"], body


def flv(tag_list):
    out = b"FLV\x01\x05\0\0\0\x09\0\0\0\0"
    for index, (tag_type, body) in enumerate(tag_list):
        header = bytes([tag_type]) + len(body).to_bytes(3, "big") + (40 * index).to_bytes(3, "big") + bytes(4)
        out += header + body + (len(body) + 11).to_bytes(4, "big")
    return out


def config(tag_type, body):
    """(selector, record) if the tag is a single-track sequence header."""
    if tag_type == 9 and body[:2] == b"\x17\x00":
        return CONFIG_SELECTOR[b"avc"], body[5:]
    if tag_type == 8 and body[:2] == b"\xaf\x00":
        return CONFIG_SELECTOR[b"aac"], body[2:]
    if body[0] == 0x90 and body[1:5] in CONFIG_SELECTOR:
        return CONFIG_SELECTOR[body[1:5]], body[5:]
    return None


seen = set()
for path in sorted(VECTORS.glob("rtmp_*.c2s.bin")):
    stem = path.name.removesuffix(".c2s.bin")
    stream = path.read_bytes()
    # GStreamer stays at chunks of 128 bytes and librtmp plays: the two most different from ffmpeg's.
    if stem in ("rtmp_ff_multitrack", "rtmp_ff_extts", "rtmp_gst_rtmp2", "rtmp_rd_rtmp"):
        write("rtmp_chunk", stem, b"\x61" + stream[HANDSHAKE_BYTES:][:CHUNK_PREFIX_BYTES])
        write("rtmp_session", stem, b"\x61" + stream[HANDSHAKE_BYTES:][:SESSION_PREFIX_BYTES])
        write("handshake", stem, b"\x61" + stream[: HANDSHAKE_BYTES + 4])
        answer = (VECTORS / f"{stem}.s2c.bin").read_bytes()
        write("handshake", f"{stem}-answer", b"\xff" + answer[: HANDSHAKE_BYTES + 4])
    media = [(tag_type, body[:TAG_BYTES]) for tag_type, body in tags(stem)]
    for index, (tag_type, body) in enumerate(media):
        if body[:20] in seen:
            continue
        seen.add(body[:20])
        write("tag_inspect", f"{stem}-{index}", bytes([tag_type]) + body)
        if (found := config(tag_type, body)) is not None:
            write("codec_config", f"{stem}-{index}", bytes([found[0]]) + found[1])
    if media:
        table = b"".join(bytes([t]) + len(b).to_bytes(2, "big") + b for t, b in media)
        write("track_table", stem, table)
    if stem in ("rtmp_ff_hevc_opus", "rtmp_ff_mp3"):
        write("flv_reader", stem, b"\x07" + flv(media))

ONE, MANY, CODECS = "9601 61763031 01 0a", "9611 68766331 00 000004 000028aa 01 000003 000000", "9621 61763031 00 000001 0a"
for name, text in {
    "one-track": ONE,
    "many-tracks": MANY,
    "many-codecs": CODECS,
    "mod-ex": "97 02 0f423f 01 61763031 0a",
    "mod-ex-escape": "97 ff 0000 aa 01 61763031 0a",
    "command": "d0 00",
    "size-lies": "9611 61763031 00 ffffff 00",
    "colour-reset": "d4 68766331 020009 636f6c6f72496e666f 06",
}.items():
    body = bytes.fromhex(text)
    write("tag_inspect", name, b"\x09" + body)
    write("track_table", name, (b"\x09" + len(body).to_bytes(2, "big") + body) * 2)

FLV_HEAD = b"FLV\x01\x05\0\0\0\x09\0\0\0\0"
for name, stream in {
    "empty-tags": FLV_HEAD + b"".join(bytes([t]) + bytes(10) + b"\0\0\0\x0b" for t in (8, 9, 18)),
    "huge-tag": FLV_HEAD + b"\x09\xff\xff\xff" + bytes(7) + b"abc",
    "encrypted": FLV_HEAD + b"\x29" + bytes(14),
    "long-head": b"FLV\x01\x01\0\0\0\x0c" + bytes(3 + 4) + b"\x09\0\0\x01" + bytes(7) + b"a\0\0\0\x0c",
    "not-flv": b"GIF89a",
}.items():
    write("flv_reader", name, b"\x03" + stream)

for name, head in {"old-version": b"\x02", "rtmpe": b"\x06", "http": b"GET / HTTP/1.1", "half": b"\x03" + bytes(1000)}.items():
    write("handshake", name, b"\x01" + head)


def chunk(csid, length, body=b"x", tag_type=9, fmt=0):
    """A chunk with a header of type 0 or 1 on a chunk stream of the one-byte form."""
    header = bytes([fmt << 6 | csid, 0, 0, 0]) + length.to_bytes(3, "big") + bytes([tag_type])
    return header + (bytes([1, 0, 0, 0]) if fmt == 0 else b"") + body


CHUNK_SIZE_1 = chunk(2, 4, b"\0\0\0\x01", 1)
for name, stream in {
    "chunk-size-huge": chunk(2, 4, b"\x7f\xff\xff\xff", 1) + chunk(6, 1),
    "chunk-size-0": chunk(2, 4, bytes(4), 1),
    "chunk-size-bit-31": chunk(2, 4, b"\x80\0\0\x01", 1),
    "many-open": CHUNK_SIZE_1 + b"".join(chunk(csid, 60000) for csid in range(3, 40)),
    "length-changes": CHUNK_SIZE_1 + chunk(6, 5) + chunk(6, 6, fmt=1),
    "abort": CHUNK_SIZE_1 + chunk(6, 5) + b"\x02" + bytes(5) + b"\x04\x02" + bytes(4) + b"\0\xc2\0\xc2\0\xc2\x06\xc6xyz",
}.items():
    for piece in (b"\x03", b"\x04"):  # as a stranger, as a publisher
        write("rtmp_chunk", f"{name}-{piece[0]}", piece + stream)



def command(name, transaction, *values):
    """A command in one chunk: texts, None, and a connect object for a dict."""
    text = lambda value: len(value).to_bytes(2, "big") + value.encode()
    body = b"\x02" + text(name) + b"\0" + struct.pack(">d", transaction)
    for value in values:
        if isinstance(value, dict):
            body += b"\x03" + b"".join(text(key) + b"\x02" + text(item) for key, item in value.items()) + b"\0\0\x09"
        else:
            body += b"\x05" if value is None else b"\x02" + text(value)
    return chunk(3, len(body), body, 20)


CONNECT = command("connect", 1, {"app": "live", "flashVer": "seed"})
PUBLISH = command("publish", 5, None, "cam?key=k", "live")
KEYFRAME = chunk(6, 7, b"\x17\x01\0\0\0ab")
for name, stream in {
    "publish-again": CONNECT + PUBLISH + KEYFRAME + command("deleteStream", 0, None) + PUBLISH + KEYFRAME,
    "play": CONNECT + command("play", 4, None, "cam") + command("pause", 0, None) + command("closeStream", 0, None),
    "bad-name": CONNECT + command("publish", 5, None, "%2e%2e"),
    "aggregate": CONNECT + PUBLISH + chunk(4, 16, b"\x08\0\0\x01" + bytes(7) + b"a\0\0\0\x0c", 22),
}.items():
    write("rtmp_session", name, b"\x25" + stream)

META = b"\x02\0\x0aonMetaData\x08\0\0\0\x02\0\x05width\0\x40\x74\0\0\0\0\0\0\0\x06stereo\x01\x01\0\0\x09"
AMF3_OBJECT = bytes.fromhex("0a0b01 0361 0403 01")
for name, body in {
    "on-meta-data": META,
    "all-markers": bytes.fromhex("0a00000002 05 06 0b 0000000000000000 0000 0c00000001 61 0f00000000 0d 10000161 000009"),
    "reference": bytes.fromhex("03 000161 05 000009 070000"),
    "self-reference": bytes.fromhex("03 000161 070000 000009 0a00000001 070001"),
    "doubling": bytes.fromhex("0a00000000") + b"".join(bytes.fromhex(f"0a00000002 0700{n:02x} 0700{n:02x}") for n in range(9)),
    "deep": b"\x03\0\x01a" * 40,
    "wide": b"\x08\xff\xff\xff\xff" + b"\0\x01a\x05" * 1100,
    "avm-plus": b"\x11" + AMF3_OBJECT,
}.items():
    write("amf0", name, body)
for name, body in {
    "object": AMF3_OBJECT,
    "simple": bytes.fromhex("00 01 02 03 0481 00 053ff0000000000000 06 05 6869 06 00"),
    "class-twice": bytes.fromhex("0a13 0343 036d 0401 0a01 0402"),
    "reference": bytes.fromhex("09030109 0101 0900 0c0307 0c04"),
    "self-reference": bytes.fromhex("090301 0900"),
    "vectors": bytes.fromhex("0d0300ffffffff 0e0300ffffffff 0f03003ff0000000000000 10030001 0401 1103000103"),
    "date-xml": bytes.fromhex("08013ff0000000000000 0b05 3c61 07 03 62"),
    "doubling": bytes.fromhex("090101") + b"".join(bytes.fromhex(f"090501 09{n << 1:02x} 09{n << 1:02x}") for n in range(9)),
    "members-announced": bytes.fromhex("0afffffff3 01 0101010101"),
    "class-by-reference": bytes.fromhex("0a03 848001") + b"C" * (32 << 10) + bytes.fromhex("0a01") * 1000,
}.items():
    write("amf3", name, body)

HOST = b"HTTP/1.1\r\nHost: example.org\r\n"
for name, head in {
    "play": b"GET /live/cam.flv?token=a%2Bb " + HOST + b"Connection: keep-alive\r\n\r\n",
    "preflight": b"OPTIONS * " + HOST + b"Origin: null\r\n\r\n",
    "absolute": b"HEAD http://example.org/a/b/c.flv HTTP/1.0\r\n\r\n",
    "post": b"POST /live/cam.flv " + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
    "smuggle": b"POST / " + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "fold": b"GET / " + HOST + b"A: b\r\n c\r\n\r\n",
    "dots": b"GET /a/%2e%2e/b " + HOST + b"\r\n",
    "name-in-layers": b"GET /live/%252e%252e.flv " + HOST + b"\r\n",
    "codings": b"POST / " + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "identity": b"POST / " + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n",
    "ranges": b"GET /live/cam.flv " + HOST + b"Range: bytes=" + b"0-0," * 200 + b"1-\r\nIf-Range: \"\r\n\r\n",
    "second": b"GET /live/cam.flv " + HOST + b"\r\nGET /live/secret.flv " + HOST + b"\r\n",
    "bare-feed": b"GET / HTTP/1.1\nHost: a\n\n",
}.items():
    write("http_head", name, head)


def ts_packet(pid, payload, start=True, control=0x10):
    """A packet filled up with stuffing bytes of sections; the entry counts."""
    return (bytes([0x47, (0x40 if start else 0) | pid >> 8, pid & 0xFF, control]) + payload).ljust(188, b"\xff")


def crc_mpeg(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc.to_bytes(4, "big")


def ts_section(table_id, body, extension=1, version=0):
    data = bytes([table_id]) + (0xB000 | len(body) + 9).to_bytes(2, "big") + extension.to_bytes(2, "big")
    data += bytes([0xC1 | version << 1, 0, 0]) + body
    return data + crc_mpeg(data)


def spread(pid, section):
    """A section over as many packets as it takes."""
    data = b"\0" + section
    return b"".join(ts_packet(pid, data[at : at + 184], at == 0) for at in range(0, len(data), 184))


for path in sorted(VECTORS.glob("ts_*_head.ts")):
    write("ts_demux", path.stem, b"\xbc\0" + path.read_bytes())
write("ts_demux", "capture", b"\x40\0" + (VECTORS / "rtp_mp2t_fec_5x5.pcap").read_bytes()[:6000])

TS_PAT = ts_packet(0, b"\0" + ts_section(0, bytes.fromhex("0000 e010 0001 f000")))
TS_NULLS = ts_packet(0x1FFF, b"", False) * 5
TS_SDT = ts_section(0x42, bytes.fromhex("0001ff 0001 fc 8014 4812 01 06 15 c3a4 e282ac 09 c8 61 8a 62 86 10 00 02 41"))
TS_PMT = ts_section(2, bytes.fromhex("e100 f006 0904 0604 e123 1b e100 f000 06 e101 f00c 0a04 64657500 0504 4f707573 86 e102 f000"))
TS_PCR = ts_packet(0x100, bytes.fromhex("07 10 00000000 7e 00 000001e0 0000 84c0 0a 3100010001 1100010001"), True, 0x30)
for name, packets in {
    "tables": TS_PAT + spread(0x1000, TS_PMT) + spread(0x11, TS_SDT) + TS_PCR * 2 + TS_NULLS,
    "other-tables": spread(1, ts_section(1, bytes.fromhex("0904 0604 e124")))
    + spread(0x10, ts_section(0x40, bytes.fromhex("f004 4002 6e77 f006 0005 0006 f000")))
    + ts_packet(0x14, bytes.fromhex("00 70 7005 c079124500"))
    + TS_NULLS,
    "spanning": spread(0, ts_section(0, b"".join(n.to_bytes(2, "big") + (0xE020 + n).to_bytes(2, "big") for n in range(1, 251)))) + TS_NULLS,
    "t1-never-finished": b"".join(ts_packet(pid, bytes.fromhex("00 42 bffd")) for pid in range(0x20, 0x60)),
    "t1-adaptation-length": b"".join(ts_packet(0, bytes([n, 0xFF]), True, 0x30) for n in (0, 1, 6, 7, 182, 183, 184, 255)),
    "t2-map-of-everything": TS_PAT + spread(0x1000, ts_section(2, bytes.fromhex("e100 f000") + bytes.fromhex("1be100f000") * 150)) + TS_NULLS,
    "t2-clock-jumps": TS_PAT + spread(0x1000, TS_PMT) + b"".join(
        ts_packet(0x100, bytes([7, 0x10, n * 37 & 0xFF, 0, 0, 0, 0x7E, 0]), False, 0x20) for n in range(16)
    ),
    "t3-endless-picture": ts_packet(0x100, bytes.fromhex("000001e0 0000 8080 05 2100010001")) + ts_packet(0x100, b"", False) * 20,
    "pointer-past-the-end": ts_packet(0, bytes.fromhex("ff 00b0")) + TS_PAT + TS_NULLS,
    "lost-sync": TS_PAT + TS_NULLS + b"\0" * 400 + TS_PAT + TS_NULLS + TS_PAT,
}.items():
    write("ts_demux", name, b"\x2f\x01" + packets)
write("ts_demux", "rtp", b"\x04\0" + b"".join(bytes([0x80, 33, 0, n, 0, 0, 0, 0, 1, 2, 3, 4]) + TS_PAT[:176] for n in (1, 2, 4, 4, 3)))
write("ts_demux", "stride-192", b"\x2f\0" + b"".join(bytes(4) + TS_PAT for _ in range(6)))
write("ts_demux", "stride-204", b"\x2f\0" + b"".join(TS_PAT + bytes(16) for _ in range(6)))

for path in sorted(VECTORS.glob("ts_*_head.ts")):
    write("ts_frames", path.stem, b"\x0a\0" + path.read_bytes())
    # 4 Mbit/s, an entry in 20 ms.
    write("mux", path.stem, b"\x0e\xa0" + path.read_bytes())


def ts_map(*streams):
    """A map with these stream types and PIDs."""
    body = b"".join(bytes([kind]) + (0xE000 | pid).to_bytes(2, "big") + b"\xf0\0" for kind, pid in streams)
    return spread(0x1000, ts_section(2, bytes.fromhex("e100 f000") + body))


def ts_unit(pid, stream_id, ticks, payload, length=None, flags=b"\x80"):
    """One PES packet, stuffed by its adaptation field; the entry counts."""
    stamp = bytes([0x21 | ticks >> 29 & 14, ticks >> 22 & 255, ticks >> 14 & 254 | 1, ticks >> 7 & 255, ticks << 1 & 254 | 1])
    length = 8 + len(payload) if length is None else length
    data = bytes([0, 0, 1, stream_id]) + length.to_bytes(2, "big") + flags + b"\x80\x05" + stamp + payload
    out = b""
    for at in range(0, len(data), 184):
        piece, head = data[at : at + 184], bytes([0x47, (0x40 if at == 0 else 0) | pid >> 8, pid & 0xFF])
        room = 184 - len(piece)
        field = b"" if room == 0 else b"\0" if room == 1 else bytes([room - 1, 0]) + b"\xff" * (room - 2)
        out += head + (b"\x10" if room == 0 else b"\x30") + field + piece
    return out


TS_SPS, TS_PPS, TS_IDR, TS_INTER = (b"\0\0\0\1" + bytes.fromhex(nal) for nal in ("6742c01eda0507c4", "68ce3c80", "65888421a0", "419a246c"))
TS_KEY = bytes.fromhex("00000001 09f0") + TS_SPS + TS_PPS + TS_IDR
TS_ADTS = bytes.fromhex("fff14c80021ffc") + b"\1" * 9
TS_BEGIN = TS_PAT + ts_map((0x1B, 0x100), (0x0F, 0x101)) + ts_unit(0x100, 0xE0, 90000, TS_KEY)
for name, packets in {
    "picture-and-sound": TS_BEGIN + ts_unit(0x101, 0xC0, 90000, TS_ADTS * 3) + ts_unit(0x100, 0xE0, 93600, TS_INTER * 2, 0),
    "sound-across": TS_BEGIN + ts_unit(0x101, 0xC0, 90000, TS_ADTS + TS_ADTS[:9]) + ts_unit(0x101, 0xC0, 92000, TS_ADTS[9:] + b"\xff\xf1" * 5),
    "maps-change": TS_BEGIN + ts_map((0x24, 0x100), (0x81, 0x101), (0x03, 0x102)) + ts_unit(0x101, 0xBD, 90000, bytes.fromhex("0b77 0000 1440 43e1") + b"\0" * 400),
    "scrambled": TS_BEGIN + ts_unit(0x100, 0xE0, 93600, TS_KEY, flags=b"\xa0"),
    "sets-without-end": TS_BEGIN + b"".join(ts_unit(0x100, 0xE0, 90000 + n, TS_SPS[:-1] + bytes([n]) + TS_PPS + TS_IDR) for n in range(20)),
    "length-lies": TS_BEGIN + ts_unit(0x100, 0xE0, 93600, TS_INTER, 9) + ts_unit(0x100, 0xE0, 97200, TS_INTER, 60000) + ts_unit(0x100, 0xE0, 1, TS_KEY),
    "fields": TS_BEGIN + ts_unit(0x100, 0xE0, 93600, b"\0\0\1\x41\x9a\x24\x6c\0\0\1\x41\x9a\x24\x6c"),
    "latm": TS_PAT + ts_map((0x11, 0x101)) + ts_unit(0x101, 0xC0, 90000, bytes.fromhex("56e010 20001190 0f0021104500 0000 56e002 ffff")),
}.items():
    write("ts_frames", name, b"\x0a\x03" + packets)
for name, head, packets in (
    ("too-much", b"\0\x09", TS_BEGIN + ts_unit(0x100, 0xE0, 93600, TS_INTER + b"\x55" * 9000) + ts_unit(0x101, 0xC0, 90000, TS_ADTS * 40)),
    ("seams-and-skips", b"\x7d\x27", (TS_BEGIN + ts_unit(0x101, 0xC0, 90000, TS_ADTS * 3)) * 30),
    ("clocks-jump", b"\x12\x51", TS_BEGIN + b"".join(ts_unit(0x100, 0xE0, n * 0x12345678 % 2**33, TS_KEY) for n in range(40))),
    ("maps-change", b"\x31\x29", b"".join(TS_PAT + ts_map((0x1B, 0x100 + n), (0x81, 0x200 - n)) + ts_unit(0x100 + n, 0xE0, 90000 + 3600 * n, TS_KEY) for n in range(30))),
    ("no-program", b"\x03\x40", TS_NULLS * 4),
):
    write("mux", name, head + packets)

# AV1 as the AOM's draft carries it: a delimiter, a sequence header, a key frame; then a frame that is not shown, and one that is.
TS_AV1_MAP = spread(0x1000, ts_section(2, bytes.fromhex("e100 f000 06e100 f006 0504") + b"AV01"))
TS_TU = bytes.fromhex("000001 1200")
TS_AV1_KEY = TS_TU + bytes.fromhex("000001 0a0b0200000521e7f66017c012 000001 3203 10aabb")
TS_AV1_BEGIN = TS_PAT + TS_AV1_MAP + ts_unit(0x100, 0xBD, 90000, TS_AV1_KEY)
for name, packets in {
    "av1": TS_AV1_BEGIN + ts_unit(0x100, 0xBD, 93600, TS_TU + bytes.fromhex("000001 3205 30 000003 01 dd")),
    "av1-frames": TS_AV1_BEGIN + ts_unit(0x100, 0xBD, 93600, TS_TU + bytes.fromhex("000001 3202 20cc")) + ts_unit(0x100, 0xBD, 93600, bytes.fromhex("000001 3202 30cc")),
    "av1-plain": TS_AV1_BEGIN + ts_unit(0x100, 0xBD, 93600, bytes.fromhex("1200 3202 30cc 1200 1a01 80")),
    "av1-sizes-lie": TS_AV1_BEGIN + ts_unit(0x100, 0xBD, 93600, bytes.fromhex("000001 32ff 30cc 000001 0aff01")) + ts_unit(0x100, 0xBD, 97200, TS_AV1_KEY),
    "eac3-substreams": TS_PAT + ts_map((0x87, 0x101)) + b"".join(
        ts_unit(0x101, 0xBD, 90000 + n // 2 * 2880, bytes([0x0B, 0x77, n % 2 * 0x40, 0x1F, 0x3F, 0x86]) + bytes([n]) * 58) for n in range(8)
    ),
}.items():
    write("ts_frames", name, b"\x0a\x01" + packets)


def datagrams(capture):
    """(port, payload) of the UDP datagrams of a little-endian pcap of Ethernet frames."""
    at = 24
    while at < len(capture):
        size = struct.unpack_from("<I", capture, at + 8)[0]
        packet = capture[at + 16 + 14 : at + 16 + size]
        udp = packet[(packet[0] & 15) * 4 :]
        yield int.from_bytes(udp[2:4], "big"), udp[8 : int.from_bytes(udp[4:6], "big")]
        at += 16 + size


def received(choice, items):
    """(from, steps of 100 us, datagram) as the entry reads them."""
    return bytes([choice]) + b"".join(bytes([leg, step]) + len(d).to_bytes(2, "big") + d for leg, step, d in items)


def short(port, data):
    """Forty bytes of payload: what is cut from media and from their repair packets are the same bytes, and five lengths of 40 are 40."""
    return data[:52] if port == 5004 else data[:14] + b"\0\x28" + data[16:68]


RTP = [(port, short(port, d)) for port, d in datagrams((VECTORS / "rtp_mp2t_fec_5x5.pcap").read_bytes())]
RTP_MEDIA = [d for port, d in RTP if port == 5004]
CAPTURED = [(0 if port == 5004 else 2, 20, d) for port, d in RTP]
for name, choice, items in (
    ("capture", 2, CAPTURED),
    ("losses", 2, [item for n, item in enumerate(CAPTURED) if n not in (3, 9, 10, 21)]),
    ("a-row-lost", 2, [item for n, item in enumerate(CAPTURED) if not 7 <= n < 13]),
    ("not-repaired", 2, [(0, 250, d) for n, d in enumerate(RTP_MEDIA) if n not in (4, 9, 14, 19)]),
    ("two-paths", 1, [
        (leg, 10, RTP_MEDIA[n - 3 * leg]) for n in range(49) for leg in (0, 1) if 0 <= n - 3 * leg < 46 and n % 3 != leg + 1
    ]),
    ("encoded", 0x5E, [(0, 20, d) for n, d in enumerate(RTP_MEDIA * 2)]),
    ("reordered", 2, [(0, 20, RTP_MEDIA[n ^ 3]) for n in range(40)]),
    ("again-and-again", 2, [(0, 10, d) for d in RTP_MEDIA[:3] * 40]),
    ("other-sender", 2, [(0, 255, d[:8] + bytes([n // 10]) + d[9:]) for n, d in enumerate(RTP_MEDIA)]),
    ("far-away", 2, [(0, 20, d[:2] + (n * 1400 & 0xFFFF).to_bytes(2, "big") + d[4:]) for n, d in enumerate(RTP_MEDIA)]),
    ("repairs-that-lie", 2, [(2 * (port != 5004), 20, d if port == 5004 else d[:14] + b"\xff\xff" + d[16:])
        for port, d in RTP if port != 5008 and d != RTP_MEDIA[3]]),
):
    write("rtp_receiver", name, received(choice, items))
