"""Which blocks each request holds, and which of them were computed before by another."""

from __future__ import annotations

from ...protocol.block_hash import hash_block, root_hash
from .block_pool import Block, BlockPool
from .request import Request


class _HeldBlocks:
    """A request's blocks. num_told: how many of them its chunks have named."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks
        self.num_told = 0


class KVCacheManager:
    """Bookkeeping of the paged KV cache; the tensors belong to the model runner.

    A full block is named by its contents, so that others find it, once the step that fills it has
    run: `keep_filled`. Within that step it is shared all the same: a forward stores all keys and
    values of a layer before any token attends. If the step fails, `discard_filled` forgets it.

    prefix_caching: whether blocks are named at all.
    recompute_beyond: see `KVCacheSpec`.
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        prefix_caching: bool = True,
        recompute_beyond: int | None = None,
    ) -> None:
        self.block_size = block_size
        self.recompute_beyond = recompute_beyond
        self._prefix_caching = prefix_caching
        self.pool = BlockPool(num_blocks)
        self._held: dict[str, _HeldBlocks] = {}
        self._filled: dict[bytes, Block] = {}

    @property
    def num_free_blocks(self) -> int:
        """Blocks that no request holds."""
        return self.pool.num_free_blocks

    def block_ids(self, request: Request) -> list[int]:
        """The request's block table."""
        return [block.block_id for block in self._held[request.request_id].blocks]

    def take_new_block_ids(self, request: Request) -> tuple[int, list[int]]:
        """What its block table has beyond what earlier calls gave, and from which index on; all
        of it once it was freed in between."""
        held = self._held[request.request_id]
        first, held.num_told = held.num_told, len(held.blocks)
        if first == held.num_told:
            return first, []
        return first, [block.block_id for block in held.blocks[first:]]

    def match_prefix(self, request: Request) -> int:
        """Hold the blocks that already have the request's first tokens; returns how many tokens.

        At least one token is left to compute, as its logits are wanted; the whole prompt, if it
        is to have log-probabilities.
        """
        self._extend_hashes(request, request.num_tokens)
        matched: list[Block] = []
        longest = 0 if request.wants_prompt_logprobs else request.num_tokens - 1
        for block_hash in request.block_hashes[: longest // self.block_size]:
            block = self.pool.find(block_hash) or self._filled.get(block_hash)
            if block is None:
                break
            matched.append(block)
        self.pool.hold(matched)
        self._held[request.request_id] = _HeldBlocks(matched)
        return len(matched) * self.block_size

    def allocate(self, request: Request, num_new_tokens: int) -> bool:
        """Get blocks for the next tokens after the computed ones; False if there are too few."""
        held = self._held[request.request_id]
        num_tokens = request.num_computed_tokens + num_new_tokens
        missing = -(-num_tokens // self.block_size) - len(held.blocks)
        if missing > self.pool.num_free_blocks:
            return False
        if missing > 0:
            held.blocks += self.pool.allocate(missing)
        first_filled = request.num_computed_tokens // self.block_size
        if first_filled < num_tokens // self.block_size:
            self._note_filled(request, held.blocks, first_filled, num_tokens)
        return True

    def _note_filled(
        self, request: Request, blocks: list[Block], first: int, num_tokens: int
    ) -> None:
        """The step that is being scheduled fills blocks from index `first` on."""
        self._extend_hashes(request, num_tokens)
        for index in range(first, min(num_tokens // self.block_size, len(request.block_hashes))):
            self._filled.setdefault(request.block_hashes[index], blocks[index])

    def keep_filled(self) -> None:
        """The step has run: name the blocks that it filled."""
        for block_hash, block in self._filled.items():
            self.pool.name(block, block_hash)
        self._filled.clear()

    def discard_filled(self) -> None:
        """The step failed: nothing is known of the blocks that it was to fill."""
        self._filled.clear()

    def free(self, request: Request) -> None:
        """Let go of everything that the request holds; harmless if it holds nothing."""
        held = self._held.pop(request.request_id, None)
        if held is not None:
            self.pool.release(held.blocks)

    def _extend_hashes(self, request: Request, num_tokens: int) -> None:
        if not self._prefix_caching:
            return
        size = self.block_size
        hashes = request.block_hashes
        for index in range(len(hashes), num_tokens // size):
            parent = hashes[-1] if hashes else self._root_hash(request)
            tokens = request.token_ids[index * size : (index + 1) * size]
            hashes.append(hash_block(parent, tokens, index * size, request.spans))

    def _root_hash(self, request: Request) -> bytes:
        limit = self.recompute_beyond
        return root_hash(request.cache_salt, limit is not None and request.num_tokens > limit)

    def check_integrity(self) -> None:
        """Raise AssertionError if the block tables and the pool disagree."""
        self.pool.check_integrity()
        assert all(block.ref_count for block in self._filled.values())
        holders: dict[int, int] = {}
        for held in self._held.values():
            for block in held.blocks:
                holders[block.block_id] = holders.get(block.block_id, 0) + 1
                assert block.ref_count >= holders[block.block_id], block
        assert len(holders) == self.pool.num_blocks - self.pool.num_free_blocks
