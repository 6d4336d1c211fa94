"""For programs that were written for the standard library's asynchat: `from trio_chat.compat import asynchat`."""
