"""One module a command: `add_parser(group)` says what it is called and takes, `run(options)` does it.

What a command needs beyond the parser is imported when it runs, since every job of a workflow starts the program anew.
"""
