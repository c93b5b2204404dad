"""The verb `export`: make a bundle from a torch module, or from trained weights of a family."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from edge_sdk.cli import new_bundle, terminal, train
from edge_sdk.cli.model_options import ModelOptions, axes_of, verb
from edge_sdk.counted import did_you_mean
from edge_sdk.errors import BadUsage
from edge_sdk.extras import need_exporting
from edge_sdk.shown import shown


class ModuleOrFamily(TyperCommand):
    """The command of a module, or of a family where its name comes first."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        from edge_sdk.export import registry

        if args and args[0] in registry.names():
            family = args[0]
            return of_family(family).make_context(f"{info_name} {family}", args[1:], parent, **extra)
        if args and not args[0].startswith("-") and ":" not in args[0]:
            raise BadUsage(
                f"{shown(args[0])[:80]} is neither a family nor a module with its factory",
                hint=f"{did_you_mean(args[0], registry.names())}Families: {', '.join(registry.names())}. A module is "
                "PACKAGE.MODULE:FACTORY",
            )
        return super().make_context(info_name, args, parent, **extra)


def of_family(family: str) -> Any:
    """Its command without the options that only a training reads. Raises BadUsage where it has no trained weights."""
    from edge_sdk.export import registry
    from edge_sdk.export.option import as_is_of, defaults_of, specs_of

    options = registry.described(family).options
    flag = as_is_of(options)
    if flag is None:
        raise BadUsage(f"{family} exports what it has trained", hint=f"edge-sdk train {family} --help")
    defaults = defaults_of(options)
    fixed = {name: defaults[name] for name, spec in specs_of(options).items() if spec.training}
    alone = typer.Typer(rich_markup_mode=None, add_completion=False)
    doc = options.export_help or (
        "Make a bundle from trained weights. FOLDER is used for calibration and evaluation only.\n\n"
        f"Example: edge-sdk export {family} --weights {family}.pth --out {family}.edge"
    )
    alone.command(name=family)(train.command_of(family, fixed={**fixed, flag.field: True}, doc=doc))
    return typer.main.get_command(alone)


_EXPORTING = ("onnx", "onnxruntime", "onnxscript", "onnx_ir", "torch", "safetensors")


@partial(verb, one_model=True)
def export(
    options: ModelOptions,
    module: Annotated[
        str,
        typer.Argument(
            metavar="PACKAGE.MODULE:FACTORY", help="A function or class that makes a torch module, by its import name.",
            show_default=False,
        ),
    ],
    input: Annotated[
        list[str],
        typer.Option(
            "--input", help='NAME:TYPE[AXES] of each input, such as "image:float32[N,3,H=64..640,W=64..640]".',
            show_default=False,
        ),
    ],
    weights: Annotated[Path | None, typer.Option(help="A .safetensors file with all weights of the module.")] = None,
    arg: Annotated[
        list[str] | None, typer.Option("--arg", help="Argument for the factory, such as width=32; may be repeated.")
    ] = None,
) -> None:  # fmt: skip
    """Export a torch module, check the graph against it, quantize it, and write one bundle with its variants.

    The current folder is searched for the package, too. Its code is imported and runs. Upper-case letters in --input
    are free axes with their range, N is the batch. Module and graph are compared on seeded inputs of several sizes.
    All other options are those of edge-sdk quantize: samples, preprocessing, task.

    Trained weights of a family need no module: edge-sdk export tinysam --help.

    Example: edge-sdk export nets:make --input "image:float32[N,3,64,64]" --data samples.npz --out m.edge

    edge-sdk export nets:make --weights w.safetensors --input "image:float32[N,3,224,224]" --data photos/
    --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --out m.edge

    edge-sdk export nets:Detector --arg width=32 --input "image:uint8[1,H=64..640,W=64..640,3]" --data samples/ --out
    m.edge
    """
    new_bundle.check(options)
    need_exporting(_EXPORTING)
    from edge_sdk.export.models import input_spec

    inputs = input_spec.bounded(input_spec.parsed(input), axes_of(options.axis or ()))
    if weights is not None and not weights.is_file():
        raise BadUsage("there is no such file", where=f"--weights {weights}")
    from edge_sdk.export.models import factory, torch_module
    from edge_sdk.tasks.base import MODEL

    made = factory.made(module, arguments=factory.arguments_of(arg or ()), folder=Path.cwd())
    if weights is not None:
        factory.load(made, weights)
    with terminal.progress() as progress:
        progress(0, 0, "exporting the module")
        model, parity = torch_module.exported(made, inputs, where=module, seed=options.seed, threads=options.threads)
    terminal.note(parity.line())
    new_bundle.made({MODEL: model}, options, axes=input_spec.largest(inputs))


CLASSES = {"export": ModuleOrFamily}
COMMANDS = (export,)
