"""Sizes as people read them."""


def show_bytes(count: int) -> str:
    """Such as "1.5 GiB" or "12 MiB"."""
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"
