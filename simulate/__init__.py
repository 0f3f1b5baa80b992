"""Workers of several processes in virtual time, with faults, judged by rules: one seed is one run."""
