"""Queue backends: where tasks are stored."""
