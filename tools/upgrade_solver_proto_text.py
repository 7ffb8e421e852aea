"""caffepy upgrade_solver_proto_text: an old solver prototxt in today's form."""

from __future__ import annotations

import click


@click.command()
@click.argument("input_file")
@click.argument("output_file")
def command(input_file: str, output_file: str) -> None:
    """Writes the solver prototxt INPUT_FILE to OUTPUT_FILE with `type` for `solver_type`."""
    from caffepy.engine.core import log
    from caffepy.proto import text
    from caffepy.proto.caffe_pb2 import SolverParameter
    from caffepy.proto.upgrade import upgrade_solver
    from caffepy.tools import upgrade_proto

    solver = text.read(input_file, SolverParameter)
    upgraded = upgrade_solver(solver)
    if solver.HasField("solver_type"):
        log.info(
            "Attempting to upgrade input file specified using deprecated 'solver_type' field "
            f"(enum)': {input_file}"
        )
        log.info(
            "Successfully upgraded file specified using deprecated 'solver_type' field (enum) to "
            "'type' field (string)."
        )
        log.warning(
            "Note that future Caffe releases will only support 'type' field (string) for a "
            "solver's type."
        )
    else:
        log.error(f"File already in latest proto format: {input_file}")
    upgrade_proto.write(text.write(upgraded), output_file, "SolverParameter text proto")
