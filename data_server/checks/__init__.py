"""What ``python -m data_server check`` looks at: one module each, found by being here.

    annotations   the annotation file: boxes, categories, images
    building      whether MMDetection can build the data set, with its filters and proposals
    images        the image files
    pipeline      whether the data set's pipeline yields pictures that batches can carry
    vocabulary    classes beside the box head's text embeddings

A check is a module with a function

    check(subject: Subject, found: Findings) -> str

which looks at one data set (`data_server.checks.subject`), notes what is wrong (`data_server.checks.findings`) and
returns what is there, in a few words; an empty text if it has nothing to say. Checks run in the order of their names,
and a later one may use what an earlier one has left in the subject.
"""
