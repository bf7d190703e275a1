"""Messages over a Unix socket: msgpack frames, with pixel values in shared memory beside them."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from .pixels import Pixels

_HEADER = struct.Struct("<IB")
_ALIGNMENT = 64

Incoming = TypeVar("Incoming")


@dataclass(frozen=True)
class Frame:
    """An encoded message, and the pixels that go beside it."""

    body: bytes
    pixels: list[Pixels]


class Connection(Generic[Incoming]):
    """One end of a socket. One thread may encode, another send, a third receive.

    The pixels of a message go into one anonymous file in memory (memfd), whose descriptor
    travels with the frame; the receiver maps it, so they are never copied through the socket,
    and the memory is freed with the last array that views it, even if a process is killed.
    """

    def __init__(self, sock: socket.socket, incoming: type[Incoming] | Any) -> None:
        self._socket = sock
        self._outgoing: list[Pixels] = []
        self._received = memoryview(b"")
        self._encoder = msgspec.msgpack.Encoder(enc_hook=self._encode_pixels)
        self._decoder: msgspec.msgpack.Decoder[Incoming] = msgspec.msgpack.Decoder(
            incoming, dec_hook=self._decode_pixels
        )

    def encode(self, message: object) -> Frame:
        """A message, ready to be sent. Raises OverflowError for an integer beyond 64 bits."""
        self._outgoing = []
        return Frame(self._encoder.encode(message), self._outgoing)

    def send(self, frame: Frame) -> None:
        """Send a message whole. Raises OSError if the other end is gone."""
        body = frame.body
        header = _HEADER.pack(len(body), bool(frame.pixels))
        if not frame.pixels:
            self._socket.sendall(header + body)
            return
        descriptor = _share(frame.pixels)
        try:
            socket.send_fds(self._socket, [header], [descriptor])
        finally:
            os.close(descriptor)
        self._socket.sendall(body)

    def receive(self) -> Incoming | None:
        """The next message; None if the other end is closed or gone."""
        try:
            return self._receive()
        except ConnectionError:
            return None

    def close(self) -> None:
        """Close this end; the other one's `receive` then returns None."""
        with contextlib.suppress(OSError):  # the other end was closed first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _receive(self) -> Incoming | None:
        header, descriptors, _, _ = socket.recv_fds(self._socket, _HEADER.size, 1)
        if not header:
            return None
        header += self._read(_HEADER.size - len(header))
        length, has_pixels = _HEADER.unpack(header)
        if has_pixels:
            self._received = _map(descriptors[0])
        try:
            return self._decoder.decode(self._read(length))
        finally:
            self._received = memoryview(b"")

    def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            chunk = self._socket.recv(length - len(data))
            if not chunk:
                raise ConnectionResetError("the other end closed in the middle of a message")
            data += chunk
        return bytes(data)

    def _encode_pixels(self, value: Any) -> Any:
        if not isinstance(value, Pixels):
            raise NotImplementedError(f"{type(value)} can't be sent")
        offset = sum(map(_padded_size, self._outgoing))
        self._outgoing.append(value)
        return [offset, list(value.shape)]

    def _decode_pixels(self, kind: type, value: Any) -> Any:
        offset, shape = value
        count = int(np.prod(shape))
        array = np.frombuffer(self._received, dtype=np.float32, count=count, offset=offset)
        return Pixels(array.reshape(shape))


def _padded_size(pixels: Pixels) -> int:
    return -(-pixels.array.nbytes // _ALIGNMENT) * _ALIGNMENT


def _share(pixels: list[Pixels]) -> int:
    """A descriptor of shared memory with the arrays one after another."""
    descriptor = os.memfd_create("octavo-pixels")
    size = sum(map(_padded_size, pixels))
    os.truncate(descriptor, size)
    with mmap.mmap(descriptor, size) as shared:
        offset = 0
        for item in pixels:
            data = np.ascontiguousarray(item.array, dtype=np.float32)
            shared[offset : offset + data.nbytes] = data.tobytes()
            offset += _padded_size(item)
    return descriptor


def _map(descriptor: int) -> memoryview:
    try:
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
