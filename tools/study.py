"""Run a study: several experiments with several seeds, one table with mean and spread, one plot or two.

    python tools/study.py study=smoke
    python tools/study.py study=augment_bccd output=outputs/study/augment
    python tools/study.py study=transfer data=folder data.root=PICTURES      # other words go to every run

A study is a short YAML file in configs/study/. Only what is missing is run; what was interrupted is resumed.
"""

from typing import Any

from visionkit.config import main


@main("study", passes_on=True)
def study(config: Any, passed: list[str]) -> None:
    """Entry point: run what is missing, then write table.md, table.json, plot.png and panels.png."""
    from visionkit.config import to_plain
    from visionkit.evaluation.files import write_json
    from visionkit.run_folder import usable_folder
    from visionkit.study import chosen, columns_of, curve_table, curves, markdown, members, rows, run, with_speedups

    plain = to_plain(config)["study"]
    folder = usable_folder(config.output or f"outputs/study/{plain.get('name') or 'unnamed'}")
    found = members(plain, folder, passed)
    for member in found:
        member.check_overrides()
    columns, plotted = columns_of(plain)
    speedup, panels = chosen(plain, "speedup", columns), chosen(plain, "panels", columns)
    missing = [member for member in found if not member.finished]
    print(f"{len(found)} runs, {len(found) - len(missing)} finished; writing to {folder}", flush=True)
    for position, member in enumerate([] if config.only_table else missing, 1):
        print(f"[{position}/{len(missing)}] {member.name}, seed {member.seed}", flush=True)
        run(member)

    table, faster = with_speedups(rows(found, columns), speedup, plain.get("reference"))
    columns = [*columns, *faster]
    text = markdown(table, columns)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(text + "\n")
    content = [{"run": row.name, "seeds": row.seeds, **{c: row.cells[c][0] for c in columns}} for row in table]
    write_json(folder / "table.json", content, indent=1)
    if any(row.cells[plotted][0] is not None for row in table):
        from visionkit.viz.plots import plot_study

        plot_study([row.name for row in table], [row.cells[plotted] for row in table], folder / "plot.png", plotted)
    if panels and any(member.finished for member in found):
        from visionkit.viz.study_panels import plot_panels

        cells = {column: [row.cells[column] for row in table] for column in panels}
        plot_panels([row.name for row in table], cells, folder / "panels.png")
    print(text)
    if (key := plain.get("curve")) is not None and any(member.finished for member in found):
        from visionkit.viz.plots import plot_curves

        lines = curves(found, key)
        plot_curves(lines, folder / "curves.png", key)
        text = curve_table(lines, key)
        (folder / "curves.md").write_text(text + "\n")
        print(text)


if __name__ == "__main__":
    study()
