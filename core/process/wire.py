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

from ..protocol.shared_array import SharedArray, SharedMemory

_HEADER = struct.Struct("<IB")
_ALIGNMENT = 64
_DESCRIPTOR_S, _PAUSE_S = 10.0, 0.05
#: Descriptors that go with one message, of 253 that Linux sends at once; arrays that lie in
#: further memories are copied.
_MAX_FORWARDED = 128
#: Where an array is that was copied for its message: in the last of the memories.
_COPIED = -1

Incoming = TypeVar("Incoming")


@dataclass(frozen=True)
class Frame:
    """An encoded message, the memories that go beside it, and the arrays that have yet to be
    copied into one."""

    body: bytes
    memories: list[SharedMemory]
    arrays: list[SharedArray]


@dataclass(frozen=True)
class _Mapped:
    """Memory that came with a message. memory: None where it isn't sent on."""

    view: memoryview
    memory: SharedMemory | None


class Connection(Generic[Incoming]):
    """One end of a socket. One thread may encode, another send, a third receive.

    The arrays of a message go into one anonymous file in memory (memfd), whose descriptor
    travels with the frame; the receiver maps it, so they are never copied through the socket,
    and the memory is freed with the last array that views it, even if a process is killed.
    Arrays that lie in such a file already, as they came from another process or were sent before,
    are not copied: its descriptor is sent.

    forwards: whether arrays that come are sent on to another process. They keep a descriptor.
    """

    def __init__(
        self, sock: socket.socket, incoming: type[Incoming] | Any, forwards: bool = False
    ) -> None:
        self._socket = sock
        self._forwards = forwards
        self._memories: list[SharedMemory] = []
        self._outgoing: list[SharedArray] = []
        self._received: list[_Mapped] = []
        self._encoder = msgspec.msgpack.Encoder(enc_hook=self._encode_array)
        self._decoder: msgspec.msgpack.Decoder[Incoming] = msgspec.msgpack.Decoder(
            incoming, dec_hook=self._decode_array
        )

    def encode(self, message: object) -> Frame:
        """A message, ready to be sent. Raises OverflowError for an integer beyond 64 bits."""
        self._memories, self._outgoing = [], []
        try:
            return Frame(self._encoder.encode(message), self._memories, self._outgoing)
        finally:
            # Memories are let go with the frame, not with the next message.
            self._memories, self._outgoing = [], []

    def send(self, frame: Frame) -> None:
        """Send a message whole. Raises OSError if the other end is gone."""
        body = frame.body
        memories = list(frame.memories)
        if frame.arrays:
            memories.append(_share_in_time(frame.arrays))
        header = _HEADER.pack(len(body), len(memories))
        if not memories:
            self._socket.sendall(header + body)
            return
        socket.send_fds(self._socket, [header], [memory.descriptor for memory in memories])
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
        header, descriptors, _, _ = socket.recv_fds(self._socket, _HEADER.size, _MAX_FORWARDED + 1)
        memories = [SharedMemory(descriptor) for descriptor in descriptors]
        if not header:
            return None
        header += self._read(_HEADER.size - len(header))
        length, num_memories = _HEADER.unpack(header)
        if num_memories != len(memories):
            raise ConnectionResetError("shared memory did not arrive: too many open files?")
        self._received = [
            _Mapped(_map(memory), memory if self._forwards else None) for memory in memories
        ]
        del memories
        try:
            return self._decoder.decode(self._read(length))
        finally:
            self._received = []

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
        place, offset = self._place(value)
        return [place, offset, value.array.dtype.str, list(value.shape)]

    def _place(self, item: SharedArray) -> tuple[int, int]:
        """Which of the message's memories an array is in, and its offset there."""
        memory = item.memory
        if memory is not None:
            if memory in self._memories:
                return self._memories.index(memory), item.offset
            if len(self._memories) < _MAX_FORWARDED:
                self._memories.append(memory)
                return len(self._memories) - 1, item.offset
        offset = sum(map(_padded_size, self._outgoing))
        self._outgoing.append(item)
        return _COPIED, offset

    def _decode_array(self, kind: type, value: Any) -> Any:
        place, offset, dtype, shape = value
        mapped = self._received[place]
        count = int(np.prod(shape))
        array = np.frombuffer(mapped.view, dtype=dtype, count=count, offset=offset)
        return SharedArray(array.reshape(shape), mapped.memory, offset)


def _padded_size(item: SharedArray) -> int:
    return -(-item.num_bytes // _ALIGNMENT) * _ALIGNMENT


def _share_in_time(items: list[SharedArray]) -> SharedMemory:
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


def _share(items: list[SharedArray]) -> SharedMemory:
    """Shared memory with the arrays one after another."""
    memory = SharedMemory(os.memfd_create("octavo-arrays"))
    size = sum(map(_padded_size, items))
    os.truncate(memory.descriptor, size)
    if size:
        with mmap.mmap(memory.descriptor, size) as shared:
            _copy_into(shared, items)
    offset = 0
    for item in items:
        if item.sent_again:
            item.memory, item.offset = memory, offset
        offset += _padded_size(item)
    return memory


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


def _map(memory: SharedMemory) -> memoryview:
    if os.fstat(memory.descriptor).st_size == 0:
        return memoryview(b"")
    return memoryview(mmap.mmap(memory.descriptor, 0, access=mmap.ACCESS_READ))
