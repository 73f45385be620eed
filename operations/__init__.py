"""Changing: pyinfra operations for one host, and ``runbook`` for a whole group."""
