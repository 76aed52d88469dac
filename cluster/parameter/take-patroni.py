#!/usr/bin/python3
# Prints what this machine's Patroni knows of PostgreSQL's parameters. One line each, fields between tabs:
#   NAME TYPE FROM TILL UNIT MIN MAX WORDS
# FROM and TILL are PostgreSQL's version numbers, TILL is the first that no longer has it. WORDS of an enum stand between |.
# Patroni leaves out what it does not know, and what it takes for no value; it moves numbers into its own range.
from patroni.postgresql import validator

rows = set()
for known in (validator.parameters, validator.recovery_parameters):
    for name, several in known.items():
        for v in several if isinstance(several, tuple) and not hasattr(several, 'version_from') else (several,):
            words = '|'.join(getattr(v, 'possible_values', ()))
            fields = (name, type(v).__name__.lower(), v.version_from, v.version_till or '', getattr(v, 'unit', None) or '',
                      getattr(v, 'min_val', ''), getattr(v, 'max_val', ''), words)
            rows.add('\t'.join(map(str, fields)))
print('\n'.join(sorted(rows)))
