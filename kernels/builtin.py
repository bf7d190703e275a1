"""Built-in kernels, by module name, so that none is imported needlessly."""

from .ops import KV_OPS, OPS
from .spec import KernelSpec

_QUANTIZED_KV = ("int8", "float8_e4m3fn")
_REFERENCE = tuple(
    KernelSpec(
        op,
        "reference",
        f"{__package__}.reference:{op}",
        priority=-1,
        quantized_kv=_QUANTIZED_KV if op in KV_OPS else (),
    )
    for op in OPS
)
#: Modules of kernels whose products are tuned to the machine.
_TUNED = ("linear", "decoder", "encoder")
_CPU = tuple(
    KernelSpec(
        op,
        "cpu",
        f"{__package__}.cpu.{module}:{op}",
        priority=10,
        devices=("cpu",),
        # Logits are float32 whatever the activations are.
        dtypes=() if module == "sampling" else ("float32", "bfloat16"),
        quantized_kv=_QUANTIZED_KV if op in KV_OPS else (),
        variant=f"{__package__}.cpu.isa:isa_name",
        tuning=f"{__package__}.cpu.load:describe_tuning" if module in _TUNED else None,
    )
    for op, module in (
        ("paged_attention", "ops"),
        ("write_kv", "ops"),
        ("rms_norm", "ops"),
        ("add_rms_norm", "ops"),
        ("rotary_embedding", "ops"),
        ("rotary_write_kv", "ops"),
        ("silu_and_mul", "ops"),
        ("gelu_tanh_and_mul", "ops"),
        ("sample_top_k_top_p", "sampling"),
        ("mask_tokens", "sampling"),
        ("linear", "linear"),
        ("decoder", "decoder"),
        ("encoder", "encoder"),
    )
)
_NUMPY = KernelSpec(
    "sample_top_k_top_p",
    "numpy",
    f"{__package__}.portable.numpy_sampling:sample_top_k_top_p",
    priority=5,
    devices=("cpu",),
)
_TRITON = tuple(
    KernelSpec(
        op,
        "triton",
        f"{__package__}.triton:{op}",
        priority=10,
        devices=("cuda",),
        quantized_kv=_QUANTIZED_KV if op in KV_OPS else (),
    )
    for op in OPS
    if op not in ("linear", "decoder", "encoder")
)
_ONEDNN = KernelSpec(
    "linear",
    "onednn",
    f"{__package__}.portable.onednn:linear",
    priority=5,
    devices=("cpu",),
    dtypes=("bfloat16",),
)
BUILT_IN_KERNELS = (*_REFERENCE, *_CPU, _NUMPY, _ONEDNN, *_TRITON)
