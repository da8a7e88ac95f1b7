"""Writes a model for other programs.

python -m bert_jax.convert runs/tiny exported/tiny --to huggingface
"""

from pathlib import Path

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.interop.folders import require_free
from bert_jax.usage import add_allow_pickle, open_model


def main(arguments: list[str]) -> None:
    """Parses the command line, reads, writes and reports."""
    parser = cli.Parser(
        "convert",
        "Reads a model that was trained here or published by Hugging Face or Google, and writes "
        "it in one of the published layouts. What was never trained is left out.",
        example="python -m bert_jax.convert runs/tiny exported/tiny --to huggingface",
    )
    parser.add_argument("source", type=Path, metavar="IN", help="run, folder or zip archive")
    parser.add_argument("output", type=Path, metavar="OUT", help="a folder that is not there yet")
    parser.add_argument(
        "--to",
        required=True,
        choices=("huggingface", "google"),
        help="config.json and model.safetensors, or bert_config.json and bert_model.ckpt",
    )
    add_allow_pickle(parser)
    options = parser.parse_args(arguments)

    require_free(options.output)
    console = Console()
    bert = open_model(options.source, console, allow_pickle=options.allow_pickle)
    bert.save(options.output, options.to)
    config = bert.config
    size = f"{config.num_layers} layers, {config.num_heads} heads, width {config.width}"
    console.table(f"made {options.output}", [("model", size), *bert.report.rows()])


if __name__ == "__main__":
    cli.run(main)
