"""Reading: pyinfra facts for one host, and ``observation`` for a whole group at once."""
