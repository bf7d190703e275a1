"""The blocks of the KV cache: who holds them, which are free, and which can be found by hash."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Block:
    """block_size slots of the cache. block_hash names its contents once they are known."""

    block_id: int
    ref_count: int = 0
    block_hash: bytes | None = None


class BlockPool:
    """Reference-counted blocks with a free list in order of eviction, all in O(1) per block.

    A block that nobody holds keeps its contents, and can be found by its hash, until it is
    allocated anew; the least recently released goes first.
    """

    def __init__(self, num_blocks: int) -> None:
        self._blocks = [Block(i) for i in range(num_blocks)]
        self._free: OrderedDict[int, Block] = OrderedDict((b.block_id, b) for b in self._blocks)
        self._by_hash: dict[bytes, Block] = {}
        self._num_cached = 0

    @property
    def num_blocks(self) -> int:
        """All blocks."""
        return len(self._blocks)

    @property
    def num_free_blocks(self) -> int:
        """Blocks that no request holds."""
        return len(self._free)

    @property
    def num_cached_blocks(self) -> int:
        """Those of the free ones that can be found by hash."""
        return self._num_cached

    def allocate(self, count: int) -> list[Block]:
        """Take `count` free blocks, forgetting what they held. Raises ValueError if too few."""
        if count > len(self._free):
            raise ValueError(f"{count} blocks wanted, {len(self._free)} free")
        blocks = [self._free.popitem(last=False)[1] for _ in range(count)]
        for block in blocks:
            self.forget(block)
            block.ref_count = 1
        return blocks

    def find(self, block_hash: bytes) -> Block | None:
        """The block with these contents, held or free."""
        return self._by_hash.get(block_hash)

    def hold(self, blocks: Iterable[Block]) -> None:
        """Add a reference to each."""
        for block in blocks:
            if block.ref_count == 0:
                del self._free[block.block_id]
                self._num_cached -= block.block_hash is not None
            block.ref_count += 1

    def release(self, blocks: Sequence[Block]) -> None:
        """Drop a reference to each of a sequence's blocks, the last ones evicted first.

        Blocks that can't be found by hash are worth nothing and go to the front of the list.
        """
        for block in reversed(blocks):
            if block.ref_count < 1:
                raise ValueError(f"block {block.block_id} is released but nobody holds it")
            block.ref_count -= 1
            if block.ref_count == 0:
                self._free[block.block_id] = block
                self._num_cached += block.block_hash is not None
                if block.block_hash is None:
                    self._free.move_to_end(block.block_id, last=False)

    def name(self, block: Block, block_hash: bytes) -> None:
        """Make a held block findable. If another has the same contents, that one stays."""
        if block_hash not in self._by_hash:
            block.block_hash = block_hash
            self._by_hash[block_hash] = block

    def forget(self, block: Block) -> None:
        """Make a block unfindable, as its contents are about to change or were never written."""
        if block.block_hash is not None:
            del self._by_hash[block.block_hash]
            self._num_cached -= block.ref_count == 0
            block.block_hash = None

    def check_integrity(self) -> None:
        """Raise AssertionError if the free list, the counts and the index disagree."""
        for block in self._blocks:
            assert block.ref_count >= 0, block
            assert (block.ref_count == 0) == (block.block_id in self._free), block
            if block.block_hash is not None:
                assert self._by_hash[block.block_hash] is block, block
        assert all(block.block_hash == key for key, block in self._by_hash.items())
        findable = [block for block in self._free.values() if block.block_hash is not None]
        assert self._num_cached == len(findable)
