"""The drill for tasks that run elsewhere: dispatchers are killed, runs are lost, and the rules count every execution."""
