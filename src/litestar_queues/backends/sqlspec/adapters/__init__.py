"""SQLSpec's adapters that can hold a queue: one file for each driver, with its rows in `STORES`."""
