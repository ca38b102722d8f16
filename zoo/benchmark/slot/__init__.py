"""Use some minutes at a GPU: one command that tests, measures and trains, and ends in time.

    python -m zoo.benchmark.slot --minutes 9 --parts tests,speed,train -o OUT

Each part runs in its own process with a share of the time (`plan`), and its results are packed into an archive while it
runs (`parts`). So if a part hangs, crashes or is cut short, the others are not affected. The parts are `testing`,
`speed` and `training`. `pack` collects the files that the machine with the GPU needs.
"""
