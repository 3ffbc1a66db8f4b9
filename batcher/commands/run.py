"""`batcher run`: the job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.commands.conclusion import conclude, end_quietly
from batcher.commands.conversion import options_from
from batcher.commands.grouped import Grouped
from batcher.commands.options import Inputs, environ_of, notes_of, option, server_options
from batcher.commands.single import made, placed
from batcher.commands.values import Amount, Duration, KeyValue, Parsed
from batcher.failures import FLAGS
from batcher.figures import Concurrency, MaxErrors, amount, pack_size

if TYPE_CHECKING:
    from batcher.commands.single import Made

_FILE = click.Path(path_type=Path)


@click.command("run", cls=Grouped)
@click.argument("input", cls=Inputs, required=True, metavar="INPUT...")
@option(
    "-o",
    "--output",
    type=click.Path(allow_dash=True),
    metavar="OUT",
    help="The results file; - for stdout; a table if it is named .csv .tsv .json .parquet .arrow, or sqlite:FILE;"
    " {model} in it is the model's name.",
)
@option("--keep", metavar="COLUMN,…", help="Columns of the input that a table has (default: all; '' for none).")
@option("--table", default="answers", show_default=True, metavar="NAME", help="The table of -o sqlite:FILE.")
@option("--formula-guard/--no-formula-guard", default=True, help="Keep spreadsheets from running cells of CSV.")
@option("--errors", type=_FILE, help="The errors file (default: beside the results, OUT.errors.jsonl).")
@option("--overwrite", is_flag=True, help="Start anew instead of resuming.")
@option(
    "--on-change",
    type=click.Choice(["error", "rerun", "keep"]),
    default="error",
    show_default=True,
    help="When a job has a result for another request: stop, ask again, or take that result.",
)
@option("--skip-failed", is_flag=True, help="Leave the jobs in the errors file alone.")
@option("--ordered", is_flag=True, help="Put the results in the order of the input when the run is complete.")
@option("--atomic", is_flag=True, help="Leave OUT as it is until every job has a result; work on OUT.part till then.")
@option(
    "--limit-new",
    type=click.IntRange(1),
    metavar="N",
    help="Ask at most N that have no result yet, and end with 4 while there are more.",
)
@option(
    "--estimate",
    type=click.IntRange(1),
    metavar="N",
    help="Run N rows, drawn by --seed, keep their results, and say what the rest will take.",
)
@option("--price-in", type=Amount(), metavar="N", help="What a million tokens in cost.")
@option("--price-cached", type=Amount(), metavar="N", help="Of those that the server had cached.")
@option("--price-out", type=Amount(), metavar="N", help="Of a million tokens out.")
@option("--price-file", type=_FILE, metavar="FILE.toml", help="The same by model: [gpt-4o-mini] with in = and out =.")
@option(
    "--dedupe/--no-dedupe",
    default=None,
    help="Ask equal requests once and answer all with it (default: embeddings alone).",
)
@option("--dry-run", is_flag=True, help="Show the first requests and send nothing.")
@option("--print-config", is_flag=True, help="Show what each option is and who said so, and do nothing.")
@server_options
@option(
    "-c",
    "--concurrency",
    type=Parsed("concurrency", Concurrency.of),
    default="auto",
    show_default=True,
    metavar="auto|N|MIN-MAX",
    help="Requests in flight at each server: found out, fixed, or found out within bounds.",
)
@option("--rpm", type=Parsed("amount", amount), metavar="N", help="Requests a minute at each server: 500, 30k.")
@option("--tpm", type=Parsed("amount", amount), metavar="N", help="Tokens a minute at each server: 30k, 2m.")
@option("--param", "params", multiple=True, type=KeyValue(), help="A parameter for all lines: temperature=0.")
@option("--option", "option", multiple=True, type=KeyValue(), help="An Ollama option for all lines: num_ctx=8192.")
@option("--schema", metavar="FILE|JSON", help="A JSON Schema that each answer has to fit; it is asked for and checked.")
@option("--json", is_flag=True, help="Ask for JSON, any object, and check it.")
@option(
    "--schema-retries",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    metavar="N",
    help="How often an answer that does not fit is asked again, with what is wrong about it.",
)
@option("--stream/--no-stream", default=True, help="Ask for streamed answers (default), or for whole ones.")
@option(
    "--pack",
    type=Parsed("texts", pack_size),
    default="auto",
    show_default=True,
    metavar="auto|N",
    help="Embedding inputs in one request: as many as are found to be best, or N.",
)
@option("--dimensions", type=click.IntRange(1), metavar="N", help="Ask for vectors of so many numbers.")
@option(
    "--on-overflow",
    type=click.Choice(["error", "truncate", "split"]),
    default="error",
    show_default=True,
    help="A text that is too long to be embedded: an error line, its beginning, or the mean of its pieces.",
)
@option("--normalize", is_flag=True, help="Give all vectors length 1.")
@option("--chunk", metavar="N{t|c}", help="Cut each text into chunks of so many tokens or characters: 400t, 2000c.")
@option("--overlap", metavar="N{t|c}", help="Begin each chunk with the end of the one before: 50t.")
@option(
    "--prefix", default="", metavar="TEXT", help="What goes before each text that is embedded: 'search_document: '."
)
@option(
    "--vectors", type=_FILE, metavar="FILE.npy", help="Keep vectors in a store, and make an array of them at the end."
)
@option(
    "--vectors-dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="The numbers of --vectors.",
)
@option("--embedding-format", type=click.Choice(["float", "base64"]), default="float", show_default=True)
@option("--raw", is_flag=True, help="Add the server's whole response object to each line.")
@option(
    "--fail-on",
    multiple=True,
    metavar="FLAG,…",
    help=f"Take answers with these flags for failures: {', '.join(FLAGS)}.",
)
@option("--retries", type=click.IntRange(0), default=4, show_default=True, help="Attempts after the first.")
@option("--first-token-timeout", type=Duration(), default="10m", show_default=True, help="Until the first content.")
@option("--idle-timeout", type=Duration(), default="2m", show_default=True, help="Between content.")
@option("--timeout", type=Duration(), default="30m", show_default=True, help="For one whole answer.")
@option(
    "--min-speed",
    type=Amount(),
    default=0.2,
    show_default=True,
    metavar="N",
    help="Tokens a second below which a streamed answer is given up; 0 for none.",
)
@option(
    "--runaway",
    type=click.Choice(["cut", "keep"]),
    default="cut",
    show_default=True,
    help="An answer that only repeats itself: cut it off and fail its job, or let it come to its end.",
)
@option(
    "--keep-alive",
    default="30m",
    show_default=True,
    metavar="TIME",
    help="How long Ollama keeps a model loaded after its last answer; '' leaves it to the server.",
)
@option("--grace", type=Duration(), default="20s", show_default=True, help="For those in flight after a first Ctrl-C.")
@option(
    "--durability",
    type=click.Choice(["off", "batch", "each"]),
    default="batch",
    show_default=True,
    help="Sync results to the disk at the end, every second, or before each counts as done.",
)
@option("--disk-wait", type=Duration(), default="60s", show_default=True, help="For room on a full disk.")
@option("--wait-lock", type=Duration(), default="0s", show_default=True, help="For another run on OUT to end.")
@option(
    "--if-locked",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="When another run has OUT: end with 75, or leave it to that run and end with 0.",
)
@option("--max-duration", type=Duration(), help="Stop after this time as Ctrl-C does, with exit code 4.")
@option(
    "--max-errors",
    type=Parsed("errors", MaxErrors.of),
    metavar="N|P%",
    help="Stop when more jobs than this, or (from 100 jobs on) more than this share, have failed; exit code 4.",
)
@option(
    "--max-cost",
    type=Amount(),
    metavar="N",
    help="Stop when the answers of this run have cost this, by the prices that are said; exit code 4.",
)
@option("--progress/--no-progress", default=None, help="A live display (default: when stderr is a terminal).")
@option(
    "--stats",
    type=Duration(),
    default="1m",
    show_default=True,
    help="Say so often how far it is, where there is no live display; 0 never.",
)
@option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What is said on stderr: sentences, or a JSON object a line.",
)
@option("--metrics-file", type=_FILE, help="Keep numbers of the run in this file, as Prometheus reads them.")
@option("--summary-json", type=_FILE, help="Write the summary to this file as JSON.")
@option("-q", "--quiet", is_flag=True, help="Say nothing unless something went wrong.")
@option("-v", "--verbose", is_flag=True, help="Show each answer as it comes.")
@click.pass_context
def command(ctx: click.Context, /, input: str | tuple[str, ...] | None, output: str | None, **values: Any) -> None:  # noqa: A002 - the argument's name
    """Run the jobs in INPUT and write their results.

    INPUT is a file of JSONL, JSON, CSV, TSV, text, Excel, Parquet or Arrow, also packed (.gz .bz2 .xz .zst); a
    directory or a 'pattern*' whose files are a job each; sqlite:FILE with --sql; a URL; or - for stdin.

    A run that was interrupted is taken up again by the same command: what has a result is not asked twice.

    \b
    Examples:
      batcher run jobs/hello.jsonl -m llama3.2 -o answers.jsonl
      batcher run prompts.jsonl --base-url https://api.openai.com/v1 -m gpt-4o-mini -c 16
      batcher run texts.jsonl -m all-minilm --pack 64 -o vectors.jsonl
      batcher run prompts.jsonl -m llama3.2 -m qwen2.5:7b -o answers.jsonl
      cat jobs/hello.jsonl | batcher run - --local -o - | jq -r .text
      batcher run --config jobs/nightly.toml
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    from batcher.commands.console import occupy
    from batcher.running.chosen import by_part
    from batcher.running.signals import harden

    occupy()
    harden()
    if values["print_config"]:
        from batcher.commands.settings import print_config

        print_config(ctx)
        return
    assert input is not None
    values["summary_json"] = by_part(values["summary_json"], values["shard"])
    if isinstance(values["model"], tuple):
        from batcher.commands.several import several

        several(ctx, input, output, values)
        return
    output, values = placed(output, values, environ_of(ctx))
    options = options_from(values)
    if values["dry_run"]:
        from batcher.commands.preview import preview

        preview(input, options, environ_of(ctx))
        return
    _end(made(ctx, input, output, options, values, notes=notes_of(ctx)), values)


def _end(run: Made | None, values: dict[str, Any]) -> None:
    """End the process as the run ended."""
    if run is None:  # it was left to another run
        return
    if run.summary is None:
        end_quietly()
        return
    conclude(run.summary, run.destination, quiet=values["quiet"], summary_json=values["summary_json"])
