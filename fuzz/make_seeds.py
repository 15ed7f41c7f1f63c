"""Writes the seed corpora under fuzz/corpus from the captures in tests/vectors.

Usage: python3 fuzz/make_seeds.py [VECTORS]. Deterministic; removes nothing. Input layouts: fuzz/entry.rs.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
VECTORS = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "tests" / "vectors"
HANDSHAKE_BYTES = 1 + 1536 + 1536
CHUNK_PREFIX_BYTES = 4096  # reaches past connect, publish and the sequence headers
SESSION_PREFIX_BYTES = 7168
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
        write("rtmp_session", stem, b"\x61" + stream[:SESSION_PREFIX_BYTES])
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

META = b"\x02\0\x0aonMetaData\x08\0\0\0\x02\0\x05width\0\x40\x74\0\0\0\0\0\0\0\x06stereo\x01\x01\0\0\x09"
write("amf", "on-meta-data", META)
write("amf", "all-markers", bytes.fromhex("0a00000002 05 06 0b 0000000000000000 0000 0c00000001 61 0f00000000 0d 10000161 000009"))
write("amf", "reference", bytes.fromhex("03 000161 05 000009 070000"))
write("amf", "self-reference", bytes.fromhex("03 000161 070000 000009 0a00000001 070001"))
AMF3_OBJECT = bytes.fromhex("0a0b01 0361 0403 01")
write("amf", "amf3-object", AMF3_OBJECT)
write("amf", "avm-plus", b"\x11" + AMF3_OBJECT)

HOST = b"HTTP/1.1\r\nHost: example.org\r\n"
for name, head in {
    "play": b"GET /live/cam.flv?token=a%2Bb " + HOST + b"Connection: keep-alive\r\n\r\n",
    "preflight": b"OPTIONS * " + HOST + b"Origin: null\r\n\r\n",
    "absolute": b"HEAD http://example.org/a/b/c.flv HTTP/1.0\r\n\r\n",
    "post": b"POST /live/cam.flv " + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
    "smuggle": b"POST / " + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "fold": b"GET / " + HOST + b"A: b\r\n c\r\n\r\n",
    "dots": b"GET /a/%2e%2e/b " + HOST + b"\r\n",
}.items():
    write("http_head", name, head)
