"""The commands of ``python -m data_server``, one module each, found by being here: ``my_command.py`` is ``my-command``.

A command has ``main(arguments) -> int | None``, which is given the words after its name and returns an exit code of
`shared.command_line` (None: good) or raises UserError. The first sentence of its docstring is its line in ``--help``.
"""
