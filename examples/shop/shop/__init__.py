"""A small shop: what a Litestar application does with background tasks."""
