"""Numbers of Winograd's forms F(4 x 4, 3 x 3) and F(4, 3); what plans kernels knows them without loading a compiler."""

OUT, TAPS, SIDE = 4, 3, 6  # results, taps, and inputs along an axis of a tile
UNROLL = 4  # products of a point in one turn of the loop over channels


def rows_of(n: int, flat: bool) -> int:
    """Rows of a square with sides of n, or of a line."""
    return 1 if flat else n
