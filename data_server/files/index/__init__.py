"""An index of an annotation file: what training needs of it, as columns that all processes map into memory, made once.

    annotations.json ──json_pieces──► pieces of a megabyte ──coco──► columns ──cache──► ~/.cache/unidetector/index/…
                                                                        ▲
                                             all streams, workers, evaluators and commands of a host map these

Objects365 with its 1.7 million images is 5.3 GB of JSON. MMDetection's way, which reads all of it into Python's objects
at every start, takes 29 GB and a quarter of an hour; the columns are 1.6 GB on disk and are there at once.

    columns      the format on disk
    json_pieces  a JSON file of any size, a piece at a time
    coco         the columns of a file in COCO's format; refuses whatever it cannot represent exactly
    open_images  those of OpenImages' CSV
    voc          those of a folder of XML files
    cache        finds an index, or has it made

Nothing here knows torch or MMDetection: `data_server.datasets.indexed` has MMDetection's data sets over an index.
"""
