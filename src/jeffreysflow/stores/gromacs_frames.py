"""Whether the frames of an XTC or TRR file fill it: nothing in it says how many there are."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from jeffreysflow.errors import UserError

__all__ = ["check_whole_frames"]

_XTC, _XTC_LARGE, _TRR = 1995, 2023, 1993
_TRR_NAME = b"GMX_trn_file"
_FEW_ATOMS = 9
_COMPRESSED = 92


def check_whole_frames(file: Path) -> None:
    """
    Raises
    ------
    UserError : it does not end where a frame does, or something else stands where one begins.
    """
    length_of = {".xtc": _xtc_frame, ".trr": _trr_frame}[file.suffix.lower()]
    size, at, frames = file.stat().st_size, 0, 0
    with file.open("rb") as stream:
        while at < size:
            stream.seek(at)
            try:
                length = length_of(stream)
            except struct.error:
                length = None
            if length is None or at + length > size:
                raise UserError(
                    f"{file}: frame {frames}, of numbers from 0 on, is cut short or damaged"
                )
            at += length
            frames += 1


def _numbers(stream: BinaryIO, kinds: str) -> tuple[int, ...]:
    """Big-endian numbers (``struct.error`` where the file ends before)."""
    return struct.unpack(f">{kinds}", stream.read(struct.calcsize(f">{kinds}")))


def _xtc_frame(stream: BinaryIO) -> int | None:
    """Bytes of the frame that begins here: a header with the box, then few atoms as they are, or
    compressed ones behind how many bytes they take, a multiple of 4. None of anything else.
    """
    magic, atoms = _numbers(stream, "2i")
    if magic not in (_XTC, _XTC_LARGE) or atoms < 0:
        return None
    if atoms <= _FEW_ATOMS:
        return 56 + 12 * atoms
    large = magic == _XTC_LARGE
    stream.seek(_COMPRESSED - 12, 1)
    (count,) = _numbers(stream, "q" if large else "i")
    return _COMPRESSED + 4 * large + 4 * -(-count // 4) if count >= 0 else None


def _trr_frame(stream: BinaryIO) -> int | None:
    """Bytes of the frame that begins here: a header with the sizes of ten parts, time and lambda,
    in single or double precision, and the parts. None of anything else.
    """
    magic, _, _ = _numbers(stream, "3i")
    if magic != _TRR or stream.read(len(_TRR_NAME)) != _TRR_NAME:
        return None
    *sizes, atoms, _, _ = _numbers(stream, "13i")
    box, positions = sizes[2], sizes[7]
    number = box // 9 if box else positions // (3 * atoms) if atoms > 0 else 0
    if number not in (4, 8) or min(sizes) < 0:
        return None
    return 76 + 2 * number + sum(sizes)
