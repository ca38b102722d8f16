"""The commands of `zoo`, with a module for each: `add_arguments` adds its options, and `run` runs it.

Several commands share `options` (options), `trained` (models), `measuring` (test clips and scores) and `output` (tables
and pictures).
"""
