"""How to get at a node: pyinfra connectors, RESP links, HAProxy's runtime socket, and who is in a group."""
