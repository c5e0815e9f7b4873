"""The configuration as a file: what `manage.py apply` reads and `manage.py export` writes.

Read top to bottom::

    document.py      YAML with line numbers, and the environment's variables in it
    readers.py       one field at a time: text, numbers, money, lists, records
    schema.py        the file as typed values
    references.py    names in the file that lead to nothing, or stand there twice
    fields.py        which field of a model stands where in the file
    changes.py       what an apply did, and how that reads
    run.py           one apply under way: set, validate, save, note
    catalogue.py     writes providers, deployments, prices and routes
    tenancy.py       writes tenants, projects, keys, limits and budgets
    pruning.py       deletes what is not named
    apply.py         the whole, in one transaction
    export.py        the other way round
"""
