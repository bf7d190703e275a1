"""The decoder blocks in their order, each calibrated on what the quantised ones before it give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...core.quantization.rounding.packed import stored_tensors
from .block_rounding import round_layers
from .finished_blocks import FinishedBlocks
from .forward_passes import Call, ForwardPasses, run_block
from .inputs import gather_products
from .layer_grids import LayerGrids
from .recipe import Recipe
from .report import LayerReport
from .samples import Sample
from .scaling.scale_block import ScaledBlock, scale_block
from .source_model import SourceModel, in_float32
from .work_folder import WorkFolder


@dataclass(frozen=True)
class BlockRounding:
    """Of a model. names: see `find_stored_names`. samples: none for a method that looks at none."""

    source: SourceModel
    names: Sequence[Mapping[str, str]]
    grids: LayerGrids
    recipe: Recipe
    samples: Sequence[Sample]
    folder: WorkFolder

    def run(self) -> Iterator[list[LayerReport]]:
        """Finish all blocks; gives what became of each one's layers. One block's weights at a time
        are in memory, in float32."""
        if all(self.folder.holds(index) for index in range(len(self.names))):
            # An earlier run was at what follows.
            yield from (self.folder.get(index)[1] for index in range(len(self.names)))
            return
        passes = ForwardPasses(self.source.model, self.source.blocks, self.samples)
        calls = passes.first_calls()
        finished = FinishedBlocks(self.source, self.names, self.grids)
        for index, block in enumerate(self.source.blocks):
            is_last = index + 1 == len(self.names)
            with in_float32(block):
                if not self.folder.holds(index):
                    self._finish(index, calls)
                tensors, report = self.folder.get(index)
                finished.put_in_place(index, tensors)
                outputs = [] if is_last else [run_block(block, call) for call in calls]
            yield report
            if not is_last:
                calls = passes.next_calls(outputs)
        passes.close()

    def _finish(self, index: int, calls: Sequence[Call]) -> None:
        """Have a block in the folder."""
        block = self.source.blocks[index]
        linears, names = self.source.linears(index), self.names[index]
        grids, dtype = self.grids[index], self.source.dtype
        products = gather_products(block, linears, calls)
        scaled = ScaledBlock(products, {}, [])
        if self.recipe.scales:
            scaled = scale_block(
                block, linears, grids, products, names, self.source.head_dim, calls[0], dtype
            )
        rounded = round_layers(linears, grids, scaled.products, self.recipe, dtype)
        tensors = {
            f"{names[f'{name}.weight'].removesuffix('weight')}{ending}": tensor
            for name, layer in rounded.items()
            for ending, tensor in stored_tensors(layer.weight, layer.grid).items()
        }
        for name in scaled.changed:
            tensors[names[name]] = block.get_parameter(name).data.to(dtype)
        notes = [
            LayerReport(name, grid, rounded[name].error if grid else None, scaled.alphas.get(name))
            for name, grid in grids.items()
        ]
        self.folder.put(index, tensors, notes)
