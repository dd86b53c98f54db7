"""Measurements of oxenvideo beside the clients people use today: `python -m tests.benchmarks`."""
