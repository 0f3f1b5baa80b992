"""A worker that runs for a while, and what of it grows."""
