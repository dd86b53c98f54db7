"""Tests of the engines: the contract, the scheduler and each adapter, against stub engines over real sockets."""
