"""The one place that knows what a build of Claude Code can do.

`facts` has the table, `memory` what is known of a binary, `probing` asks one that is not known, and
`strangers` counts what a build writes that no build did which was tried.
"""
