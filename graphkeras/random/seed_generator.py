"""The seed generator, where scripts look for it."""

from graphkeras.core.seed_generator import SeedGenerator, draw_seed, global_seed_generator, make_default_seed

__all__ = ["SeedGenerator", "draw_seed", "global_seed_generator", "make_default_seed"]
