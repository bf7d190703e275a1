"""Messages over a Unix socket: msgpack frames, with arrays in shared memory beside them."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from ..protocol.shared_array import SharedArray

_HEADER = struct.Struct("<IB")
_ALIGNMENT = 64
_DESCRIPTOR_S, _PAUSE_S = 10.0, 0.05

Incoming = TypeVar("Incoming")


@dataclass(frozen=True)
class Frame:
    """An encoded message, and the arrays that go beside it."""

    body: bytes
    arrays: list[SharedArray]


class Connection(Generic[Incoming]):
    """One end of a socket. One thread may encode, another send, a third receive.

    The arrays of a message go into one anonymous file in memory (memfd), whose descriptor
    travels with the frame; the receiver maps it, so they are never copied through the socket,
    and the memory is freed with the last array that views it, even if a process is killed.
    """

    def __init__(self, sock: socket.socket, incoming: type[Incoming] | Any) -> None:
        self._socket = sock
        self._outgoing: list[SharedArray] = []
        self._received = memoryview(b"")
        self._encoder = msgspec.msgpack.Encoder(enc_hook=self._encode_array)
        self._decoder: msgspec.msgpack.Decoder[Incoming] = msgspec.msgpack.Decoder(
            incoming, dec_hook=self._decode_array
        )

    def encode(self, message: object) -> Frame:
        """A message, ready to be sent. Raises OverflowError for an integer beyond 64 bits."""
        self._outgoing = []
        return Frame(self._encoder.encode(message), self._outgoing)

    def send(self, frame: Frame) -> None:
        """Send a message whole. Raises OSError if the other end is gone."""
        body = frame.body
        header = _HEADER.pack(len(body), bool(frame.arrays))
        if not frame.arrays:
            self._socket.sendall(header + body)
            return
        descriptor = _share_in_time(frame.arrays)
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

    def hang_up(self) -> None:
        """End the talk: `receive` then returns None at both ends, also where it waits already."""
        with contextlib.suppress(OSError):  # the other end was closed first
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up and close this end; not while another thread may yet call `receive`."""
        self.hang_up()
        self._socket.close()

    def _receive(self) -> Incoming | None:
        header, descriptors, _, _ = socket.recv_fds(self._socket, _HEADER.size, 1)
        if not header:
            return None
        header += self._read(_HEADER.size - len(header))
        length, has_arrays = _HEADER.unpack(header)
        if has_arrays and not descriptors:
            raise ConnectionResetError("shared memory did not arrive: too many open files?")
        if has_arrays:
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

    def _encode_array(self, value: Any) -> Any:
        if not isinstance(value, SharedArray):
            raise NotImplementedError(f"{type(value)} can't be sent")
        offset = sum(map(_padded_size, self._outgoing))
        self._outgoing.append(value)
        return [offset, value.array.dtype.str, list(value.shape)]

    def _decode_array(self, kind: type, value: Any) -> Any:
        offset, dtype, shape = value
        count = int(np.prod(shape))
        array = np.frombuffer(self._received, dtype=dtype, count=count, offset=offset)
        return SharedArray(array.reshape(shape))


def _padded_size(item: SharedArray) -> int:
    return -(-item.num_bytes // _ALIGNMENT) * _ALIGNMENT


def _share_in_time(items: list[SharedArray]) -> int:
    """As `_share`; waits a while for a descriptor where none is left, as connections that end
    give theirs back and a lost message costs all requests. Raises OSError."""
    deadline = time.monotonic() + _DESCRIPTOR_S
    while True:
        try:
            return _share(items)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_S)


def _share(items: list[SharedArray]) -> int:
    """A descriptor of shared memory with the arrays one after another."""
    descriptor = os.memfd_create("octavo-arrays")
    size = sum(map(_padded_size, items))
    os.truncate(descriptor, size)
    if size:
        with mmap.mmap(descriptor, size) as shared:
            _copy_into(shared, items)
    return descriptor


def _copy_into(shared: mmap.mmap, items: list[SharedArray]) -> None:
    whole = np.frombuffer(shared, dtype=np.uint8)
    offset = 0
    for item in items:
        data = np.ascontiguousarray(item.array)
        # numpy lets other threads run while it copies; a slice of the map would not.
        np.copyto(whole[offset : offset + data.nbytes], data.reshape(-1).view(np.uint8))
        offset += _padded_size(item)
    # A map can't be closed while an array views it.
    del whole


def _map(descriptor: int) -> memoryview:
    try:
        if os.fstat(descriptor).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
