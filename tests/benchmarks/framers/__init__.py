"""Those that split input into frames, each in a file of its own, driven without sockets."""
