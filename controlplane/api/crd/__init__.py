"""Custom resources on the server: definitions become rows of the registry as they arrive."""
