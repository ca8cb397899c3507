"""How many small faults the tests notice: `make mutate`.

    sources ──► every mutant ──► a sample ──► for each, in a copy of the project and processes of its own:
    (python_source, c_source)    (a seed)     the tests of its module, then the others that run its function,
                                              the quickest first, until one fails ──► the score

Which tests run a function is measured once (`probes`): a copy of the project in which every function says that it runs,
in whatever process. A line of a trace would be more exact, but workers are killed before they could hand it in.
"""
