"""Taking trace calls out of programs: when modules are imported, and in their sources.

What is taken out are statements of ``trace_*`` calls, the decorators ``trace_fn`` and
``cuda.range``, and ``with span(...)``, ``with cuda.range(...)`` round their blocks.
Their arguments are then not evaluated.  ``narrate`` stays.
"""
