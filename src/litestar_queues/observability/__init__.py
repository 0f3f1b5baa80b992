"""What monitoring is told: counters that follow from the lifecycle."""
