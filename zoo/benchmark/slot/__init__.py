"""A quarter of an hour at a GPU: one command that tests, measures and trains, and ends in time.

    python -m zoo.benchmark.slot --minutes 9 --parts tests,speed,train -o OUT

Each part runs in a process of its own, with a share of the time (`plan`), and its results are packed into one archive
as they come (`parts`). So a part that hangs, crashes or is cut short takes nothing along with it. `testing`, `speed`
and `training` are the parts; `pack` brings together what has to travel to the machine with the GPU.
"""
