"""Processes that slow tests start are forked from one that has imported the large libraries already.

A start of Blender, of snakemake or of a stage takes 1 to 10 s of CPU time, nearly all of it the import of bpy,
snakemake, torch and diffusers, which is no test's subject. `plugin` lets slow tests see `client` as `sys.executable`;
it asks a `server`, started with the first wish of its kind, to fork, and stands for the forked process: its words,
environment, folder, files and exit status are those of the command, and it dies with it. The project's own modules are
imported afresh, but for those of `kinds.PROJECT` where the process would import the very files that the server has.
What has to be seen as users start it stands in `with plugin.python():`. Workers of pytest-xdist, which import the same
libraries, are forked likewise.
"""
