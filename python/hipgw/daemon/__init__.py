"""The composition root: builds every room from a configuration and runs them on one event loop."""
