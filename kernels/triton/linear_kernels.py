"""The matrix products with quantised weights."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def widen(data, dtype: tl.constexpr, format: tl.constexpr):
    """Stored bytes as numbers of dtype. An fp8 value comes out divided by 256."""
    if format == "fp8":
        # Sign, exponent and fraction of e4m3 at their places in a float16, whose exponent counts
        # from -15 and not from -7.
        bits = data.to(tl.int16)
        return (((bits & 128) << 8) | ((bits & 127) << 7)).to(tl.float16, bitcast=True).to(dtype)
    return data.to(tl.float32).to(dtype)


@triton.jit
def dequant_linear_kernel(
    x,
    data,
    scale,
    zero,
    bias,
    output,
    num_rows,
    out_features,
    x_stride,
    data_stride,
    scale_stride,
    steps_per_part,
    format: tl.constexpr,
    packed_features: tl.constexpr,
    group_bytes: tl.constexpr,
    block_out: tl.constexpr,
    block_rows: tl.constexpr,
    step: tl.constexpr,
):
    """One program computes block_out outputs of block_rows rows over a part of the inputs; the
    parts are planes of the output [parts, num_rows, out_features].

    The tile is transposed, outputs by rows: the weights are then the left operand, which Hopper's
    tensor cores take from registers, and few rows make a narrow tile.
    """
    outputs = tl.program_id(0) * block_out + tl.arange(0, block_out)
    rows = tl.program_id(1) * block_rows + tl.arange(0, block_rows)
    out_inside = outputs < out_features
    row_inside = rows < num_rows
    data += outputs[:, None].to(tl.int64) * data_stride
    scale += outputs.to(tl.int64) * scale_stride
    if zero is not None:
        zero += outputs.to(tl.int64) * scale_stride
    x += rows[None, :].to(tl.int64) * x_stride
    per_channel: tl.constexpr = group_bytes == packed_features
    # Factor that widen leaves out.
    unit: tl.constexpr = 256.0 if format == "fp8" else 1.0
    total = tl.zeros((block_out, block_rows), tl.float32)
    # Sum of x, for a zero per channel.
    x_total = tl.zeros((block_rows,), tl.float32)
    first = tl.program_id(2) * steps_per_part
    for index in range(first, tl.minimum(first + steps_per_part, tl.cdiv(packed_features, step))):
        columns = index * step + tl.arange(0, step)
        inside = columns < packed_features
        packed = tl.load(data + columns[None, :], mask=out_inside[:, None] & inside, other=0)
        group = index * step // group_bytes
        mask = row_inside[None, :] & inside[:, None]
        if format == "int4":
            # Column of a byte's high half: half a group, or group_bytes, further on.
            offsets = (group * group_bytes + columns)[:, None]
            low = tl.load(x + offsets, mask=mask, other=0.0)
            high = tl.load(x + offsets + group_bytes, mask=mask, other=0.0)
            product = tl.dot(widen(packed & 15, low.dtype, format), low, input_precision="tf32x3")
            product = tl.dot(
                widen(packed >> 4, low.dtype, format), high, product, input_precision="tf32x3"
            )
            x_sum = tl.sum(low.to(tl.float32) + high.to(tl.float32), axis=0)
        else:
            values = tl.load(x + columns[:, None], mask=mask, other=0.0)
            product = tl.dot(widen(packed, values.dtype, format), values, input_precision="tf32x3")
            x_sum = tl.sum(values.to(tl.float32), axis=0)
        if per_channel:
            total += product
            x_total += x_sum
        else:
            total += product * (tl.load(scale + group, mask=out_inside, other=0.0) * unit)[:, None]
            if zero is not None:
                total += tl.load(zero + group, mask=out_inside, other=0.0)[:, None] * x_sum
    if per_channel:
        total *= (tl.load(scale, mask=out_inside, other=0.0) * unit)[:, None]
        if zero is not None:
            total += tl.load(zero, mask=out_inside, other=0.0)[:, None] * x_total
    if bias is not None:
        total += tl.load(bias + outputs, mask=out_inside, other=0.0).to(tl.float32)[:, None]
    row = tl.program_id(2).to(tl.int64) * num_rows + rows[None, :]
    tl.store(
        output + row * out_features + outputs[:, None],
        total,
        mask=out_inside[:, None] & row_inside[None, :],
    )


@triton.jit
def sum_parts_kernel(parts, bias, output, num_parts, num_rows, out_features, block: tl.constexpr):
    """One program sums a block of a row over the parts, always in their order."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < out_features
    total = tl.zeros((block,), tl.float32)
    for part in range(num_parts):
        offsets = (part * num_rows + row) * out_features + columns
        total += tl.load(parts + offsets, mask=inside, other=0.0)
    if bias is not None:
        total += tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(output + row * out_features + columns, total, mask=inside)
