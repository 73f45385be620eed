"""The decisions: what is true of a group, and which steps follow from it.

Read in this order: ``replication`` (what one server says of itself), ``lineage`` (how two data sets
are related), ``topology`` (the whole group and what is wrong with it), ``steps`` (what can be done),
``plan`` (what a verb answers), ``refusals`` and ``attach`` (what verbs share), then one module for each verb.

Nothing in here opens a socket, reads a clock, draws a random number or imports pyinfra, redis or
kubernetes: values in, values out. ``tests/unit/test_house.py`` enforces it.
"""
