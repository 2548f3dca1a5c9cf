"""Numbers of Winograd's form F(4 x 4, 3 x 3); what plans kernels knows them without loading a compiler."""

OUT, TAPS, SIDE = 4, 3, 6  # results, taps, and inputs along an axis of a tile
POINTS = SIDE * SIDE
UNROLL = 4  # products of a point in one turn of the loop over channels
