"""The servers that are compared, each a program of its own: in tests/, `python -m benchmarks.servers.NAME PORT`."""
