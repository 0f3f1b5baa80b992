"""One task's way, a thousand times, with everything going wrong that can: `python demo/run.py`."""
