"""Jobs of one snakemake on one machine are forked from a process that has imported the large libraries once.

A job of networks takes 8 s of CPU time to import torch, diffusers and what these import. With `runtime.warm` the first
such job of a run starts a `server`, which imports, listens at a name of the run's own and forks: for that job and all
that come after. The process that snakemake started is the fork's `client`: it hands over its words, folder, environment
and files, passes signals on, and ends as the fork ends. The server imports libraries only, so that jobs run the
project's code as it is on disk, and never asks for a GPU, which its forks do. It ends with its snakemake, a fork with
its client or its server. Where no server answers, jobs run as they always did.
"""
