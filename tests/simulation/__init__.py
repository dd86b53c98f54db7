"""Deterministic simulation: whole lives of jobs, played in virtual time from one seed, with faults at every step."""
