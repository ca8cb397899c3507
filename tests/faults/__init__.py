"""The fault matrix: every task and command, with every write-like call that it makes failing, or killing it, in turn.

    run, undisturbed ──► calls noted by disk.cpp ──► points (call, file, k) x faults = cells ──► three of each kind
                                                                                                  │ one at a time
    whole and without a line too many? ◄── judged, and run once more without it ◄── run again with it ◄┘

Nobody lists the files: they are those that a run was seen to write, and a file that changed unseen is an error.
"""
