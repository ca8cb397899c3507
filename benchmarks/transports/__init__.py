"""The ways a batch can get from one process to another that ``benchmarks.handover`` compares, one module each.

    benchmarks.handover ──request──► consumer ──permit──► producer        a contender: a process tree of its own
                        ◄──answer─── consumer ◄──batch─── producer

A request is {"bytes", "interval", "batches", "seconds"}: hand over payloads of `bytes` bytes until `batches` have come
or `seconds` have passed, one at least. With an `interval` they are paced: the producer rests that long before each, so
nothing ever queues. With interval 0 they are saturated: as many as the transport takes, a few under way. Without
"batches" the request is to warm up.

An answer is {"latencies", "seconds", "preparation"}: seconds from *complete* to *available* for each batch; how long it
all took; processor seconds that producers spent on making payloads, which are no transport's fault.

    complete   the last act before the producer calls the transport (for ours: before it says WROTE)
    available  the consumer has an array whose bytes it may read
"""
