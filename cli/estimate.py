"""``tepal estimate``: does a network fit a board, and what are the cycles of every layer?"""

import json
from dataclasses import asdict

from rich.table import Table
from tepal.boards.board import fit, require_fit
from tepal.boards.logic import KINDS
from tepal.sim import CycleModel

from .arguments import add_model_arguments as add_arguments
from .console import out
from .scheduling import load
from .tables import layer_rows, layer_table, share_bar, utilisation

__all__ = ["add_arguments", "run"]


def run(arguments) -> int:
    """Schedule, count, print."""
    board, schedule = load(arguments)
    model, result = CycleModel(schedule), fit(schedule, board)
    rows = layer_rows(schedule, model)
    config = schedule.config
    report = {
        "model": str(arguments.model), "board": board.name, "fits": result.ok,
        "used": result.used, "available": result.available,
        "estimated": [kind for kind in KINDS if kind in result.used],
        "memories": [{"role": use.role, "count": use.count, "depth": use.depth, "width": use.width}
                     for use in schedule.memories],
        "engine": asdict(config) | {"multipliers": config.multipliers, "products": config.products},
        "macs": schedule.network.macs, "parameters": schedule.network.parameters,
        "cycles": model.cycles, "compute_cycles": model.compute_cycles, "interval_cycles": model.interval_cycles,
        "utilisation": round(utilisation(schedule, model.compute_cycles), 4), "layers": rows,
    }
    if arguments.json:
        print(json.dumps(report))
    else:
        out.print(layer_table(rows))
        table = Table("resource", "used", "available", "", title=f"{board.name} ({board.part.name})")
        for kind, used in result.used.items():
            limit = result.available[kind]
            table.add_row(f"{kind} (estimated)" if kind in report["estimated"] else kind, f"{used:,}",
                          f"{limit:,}" if limit else "any", share_bar(used / limit) if limit else "")
        out.print(table)
        rows_, columns_ = config.window
        out.print(f"Engine: {config.rows} x {config.columns} array, {config.lanes} depthwise lanes of {rows_} x "
                  f"{columns_} taps, {config.requantisers} requantisers, {config.input_bytes}-byte input beats.")
        out.print(f"{schedule.network.macs:,} multiply-accumulates in {model.compute_cycles:,} cycles on "
                  f"{config.products} products a cycle: {report['utilisation']:.1%} in use. "
                  f"{model.cycles:,} cycles with the image streaming in; a frame every {model.interval_cycles:,}.")
    require_fit(schedule, board)
    if not arguments.json:
        out.print(f"[bold green]The network fits {board.name}.[/]")
    return 0
