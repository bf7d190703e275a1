"""Messages with arrays while a process has no descriptor left."""

from __future__ import annotations

import os
import resource
import socket
import threading

import numpy as np
from octavo.core.process.wire import Connection
from octavo.core.protocol.shared_array import SharedArray


def test_a_message_waits_for_a_descriptor() -> None:
    ours, theirs = socket.socketpair()
    sender = Connection[SharedArray](ours, SharedArray)
    receiver = Connection[SharedArray](theirs, SharedArray)
    array = np.arange(5, dtype=np.float32)
    taken: list[int] = []
    sending = threading.Thread(target=lambda: sender.send(sender.encode(SharedArray(array))))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            sending.start()
            # It tries meanwhile, in vain.
            threading.Event().wait(0.2)
            assert sending.is_alive()
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    sending.join()
    received = receiver.receive()
    assert received is not None
    np.testing.assert_array_equal(received.array, array)
    sender.close()
    receiver.close()
