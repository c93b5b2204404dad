"""The verb `devices`: CPU and runtimes of this machine, and the default choice."""

from __future__ import annotations

from dataclasses import asdict

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Json


def devices(json: Json = False) -> None:
    """Show the CPU, the usable runtimes, and why the others are not usable.

    Example: edge-sdk devices
    """
    from edge_sdk.runtimes import probe

    report = probe.devices_report()
    cpu = report.cpu
    quota = "none" if cpu.cgroup_quota is None else f"{cpu.cgroup_quota:g} CPUs"
    lines = [
        f"cpu      {cpu.model or 'unknown'}, {len(cpu.affinity)} logical, {cpu.physical_cores} physical cores here",
        f"int8     {cpu.isa}" + (f", capped for OpenVINO to {cpu.capped_by}" if cpu.capped_by else ""),
        f"flags    {' '.join(cpu.flags)}",
        f"quota    {quota}; {report.threads} threads by default",
        f"target   {report.target}: {report.why}",
        "",
        terminal.table(
            ("runtime", "version", "devices", "usable", "why not, and hint"),
            [
                (
                    a.runtime, a.version or "-", ", ".join(a.devices) or "-", "yes" if a.usable else "no",
                    "" if a.usable else f"{a.reason}. {a.hint}",
                )
                for a in report.runtimes
            ],
        ),
    ]  # fmt: skip
    terminal.emit(asdict(report), as_json=json, text="\n".join(lines))


COMMANDS = (devices,)
