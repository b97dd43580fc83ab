"""Sizes that are the same in every study; training and numpy's scoring (``autodpq.packed.scoring``) share them (no
torch)."""

N_CROSS_LAYERS = 3
"""Cross layers of DCN, DCNv2 and GDCN."""

_N_HEADS = 2


def n_heads(width: int) -> int:
    """Heads of FinalMLP's fusion: two, as FuxiCTR's configuration ``FinalMLP_default`` has, or one of an odd width.

    Args:
        width: What comes out of a stream, which heads divide.
    """
    return max(heads for heads in range(1, _N_HEADS + 1) if width % heads == 0)
