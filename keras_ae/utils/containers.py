"""What the containers of audio files, WAV, FLAC and OGG, say about their length, compared with what they hold."""

import functools
import io
import os
import re
import struct
from typing import Any, BinaryIO

_MAX_CHUNKS = 4096
# A program that writes to a pipe does not know the length when it writes the header: ffmpeg writes 2^32 - 1, sox
# 2^31 - 1 minus the header size.
_UNKNOWN_BYTES = 2**31 - 2**12
_MAX_PAGE_BYTES = 27 + 255 + 255 * 255
_BLOCK = 2**20  # bytes
# FLAC: the bytes of STREAMINFO with the number of frames in their last 36 bits, and the longest last frame looked for.
_TOTAL = slice(21, 26)
_MAX_LAST_FRAME = 2**18


def lacks(raw: BinaryIO, size: int) -> str | None:
    """Describes what is missing from a truncated WAV or OGG file; libsndfile would shorten it silently.

    Args:
        raw: the file, unbuffered.
        size: int, its bytes.

    Example: `lacks(io.BytesIO(b"OggS" + bytes(8)), 12)    # "its last page does not end the stream"`
    """
    raw.seek(0)
    kind = raw.read(12)
    if kind[:4] == b"OggS":
        start = max(0, size - _MAX_PAGE_BYTES)
        raw.seek(start)
        tail = raw.read(size - start)
        page = tail[tail.rfind(b"OggS") :]
        # Page header (RFC 3533, 6): byte 5 has flags (4 marks the last page), byte 26 the number of sizes that follow.
        if len(page) < 27 or not page[5] & 4 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
            return "its last page does not end the stream"
        return None
    if kind[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or kind[8:] != b"WAVE":
        return None
    order, long_size = ">" if kind[:4] == b"RIFX" else "<", None
    for _ in range(_MAX_CHUNKS):
        chunk = raw.read(8)
        if len(chunk) < 8:
            return None
        name, length = struct.unpack(order + "4sI", chunk)
        if name == b"ds64":  # It starts with the 64-bit sizes of file and data (EBU Tech 3306).
            sizes = raw.read(16)
            long_size = struct.unpack("<QQ", sizes)[1] if len(sizes) == 16 else None
            raw.seek(-len(sizes), os.SEEK_CUR)
        if name == b"data":
            promised = long_size if long_size is not None and length == 2**32 - 1 else length
            held = size - raw.tell()
            if long_size is None and length >= _UNKNOWN_BYTES:
                return None  # libsndfile reads to the end of the file
            return f"the header says {promised} bytes of samples, the file has {held}" if promised > held else None
        raw.seek(length + length % 2, os.SEEK_CUR)
    return None


def is_chained(raw: BinaryIO) -> bool:
    """Whether a file is OGG with several streams one after the other, of which libsndfile would read only the first.

    Example: `is_chained(open("first_and_second.ogg", "rb"))    # True, after: cat first.ogg second.ogg`
    """
    raw.seek(0)
    if raw.read(4) != b"OggS":
        return False
    raw.seek(0)
    # Streams that begin together are no chain: their first pages, with the flag 2 (RFC 3533, 6), precede all others.
    first, other = re.compile(rb"OggS\0[\2\6]"), re.compile(rb"OggS\0[\0\1\4\5]")
    begun, tail = False, b""
    while block := raw.read(_BLOCK):
        data, start = tail + block, 0
        if not begun and (found := other.search(data)):
            begun, start = True, found.end()
        if begun and first.search(data, start):
            return True
        tail = data[-5:]
    return False


class FlacOfLength(io.FileIO):
    """A FLAC file that does not state its length, read as if it did.

    Args:
        descriptor: int, of the open file, which stays open.
        frames: int, its length.

    Example: `soundfile.SoundFile(FlacOfLength(os.open("speech.flac", os.O_RDONLY), 48_000)).frames    # 48000`
    """

    def __init__(self, descriptor: int, frames: int) -> None:
        super().__init__(descriptor, closefd=False)
        self.seek(0)
        old = int.from_bytes(self.read(_TOTAL.stop)[_TOTAL])
        self.seek(0)
        self._stated = (old >> 36 << 36 | frames).to_bytes(5)

    def readinto(self, buffer: Any) -> int:
        """Reads like a file; the number of frames is replaced."""
        start = self.tell()
        n = super().readinto(buffer)
        for i in range(max(start, _TOTAL.start), min(start + n, _TOTAL.stop)):
            memoryview(buffer).cast("B")[i - start] = self._stated[i - _TOTAL.start]
        return n


def flac_frames(raw: BinaryIO, size: int) -> tuple[int | None, int | None]:
    """Returns the number of frames that a FLAC file states, 0 if it is unknown, and the number that it holds.

    The latter follows from the last frame, whose header has its position and its length (RFC 9639, 9.1).

    Args:
        raw: the file, unbuffered.
        size: int, its bytes.

    Returns:
        two ints; the second is None if the last frame is damaged or is followed by something else. Two None if it is
        not a FLAC file.

    Example: `flac_frames(open("speech.flac", "rb"), os.path.getsize("speech.flac"))    # (48000, 48000)`
    """
    raw.seek(0)
    head = raw.read(42)
    if head[:4] != b"fLaC" or len(head) < 42:
        return None, None
    stated, longest = int.from_bytes(head[_TOTAL]) & (1 << 36) - 1, int.from_bytes(head[15:18])
    block = int.from_bytes(head[8:10])
    tail = raw.seek(max(42, size - (longest or _MAX_LAST_FRAME)))
    data = raw.read(size - tail)
    for start in reversed([found.start() for found in re.finditer(rb"\xff[\xf8\xf9]", data)]):
        held = _end_of_frame(data[start : start + 16], block)
        # The second check takes longer, and is not needed where both agree.
        if held and (held == stated or _crc(data[start:-2], 0x8005, 16) == int.from_bytes(data[-2:])):
            return stated, held
    return stated, None


def _end_of_frame(header, block):
    """Returns the number of frames up to the end of the FLAC frame with this header; None if it is not a header."""
    header = header.ljust(16, b"\0")  # a short frame may end within its longest possible header
    if header[2] >> 4 == 0 or header[2] & 15 == 15 or header[3] & 1:
        return None
    # The number is coded like a character in UTF-8.
    more = max(0, 8 - (header[4] ^ 255).bit_length() - 1)
    number = header[4] & (0x7F >> more + (more > 0))
    for byte in header[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    at, code = 5 + more, header[2] >> 4
    if code in (6, 7):
        samples, at = int.from_bytes(header[at : at + code - 5]) + 1, at + code - 5
    else:
        samples = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    at += {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    if at >= 16 or _crc(header[:at], 0x07, 8) != header[at]:
        return None
    return (number if header[1] & 1 else number * block) + samples


def _crc(data, polynomial, bits):
    table, crc, mask = _crcs(polynomial, bits), 0, (1 << bits) - 1
    for byte in data:
        crc = (crc << 8 & mask) ^ table[crc >> bits - 8 ^ byte]
    return crc


@functools.cache
def _crcs(polynomial, bits):
    """Returns the CRC of each byte."""
    table = []
    for crc in range(256):
        crc <<= bits - 8
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc >> bits - 1 else 0)
            crc &= (1 << bits) - 1
        table.append(crc)
    return table
