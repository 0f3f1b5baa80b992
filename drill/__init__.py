"""A campaign of faults against real servers and worker processes, judged from what the tasks wrote down."""
