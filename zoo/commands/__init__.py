"""The commands of `zoo`, a module each: `add_arguments` says what it takes, `run` does it.

What several of them share is in `options` (arguments), `trained` (models), `measuring` (test clips and scores) and
`output` (tables and pictures).
"""
