"""The backends of litestar-queues as the conformance suite is pointed at them."""
