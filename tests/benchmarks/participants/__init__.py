"""Those who take part, each in a process of its own: `python -m tests.benchmarks.participants.NAME ORIGIN COUNT GATED`."""
