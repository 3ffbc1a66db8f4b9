"""The seam's other maker: exchanges are made by workers in processes of their own, on this machine or on many.

    here, in the run's process             there, one process a worker
        cluster   (which call to whom)  ←── link ──→   remote   (exchange.workers: sockets, streams, decoding)
        placement (who is to work) ── pipe ── foreman ── Ray ──→ starts it, and tells that it died

What is said of calls, keys and answers goes from end to end by `link`; Ray hears of none of it.
"""
